"""Which words does `p2sp get` understand?"""

from pathlib import Path
from typing import Any

import click

from p2sp.cli.words import RATE, SITE, VERBOSE, or_exit, read_site, run_and_exit

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Fetch a URL, magnet link, .torrent, .meta4 or id.")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@click.option(
    "-i",
    "--input",
    "list_file",
    type=click.Path(),
    help="Also the TARGETs of this file, a line each; '-': standard input.",
)
@click.option("-o", "--output", metavar="PATH", help="File to write, or folder to write into; '-' is standard output.")
@click.option("-j", "--jobs", type=click.IntRange(1, 16), default=3, show_default=True, help="TARGETs at a time.")
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="URL", help="Another server with the same file. Repeatable."
)
@click.option(
    "--select",
    multiple=True,
    metavar="LIST",
    help="Of a folder only these files: numbers as `p2sp show` prints them, ranges, patterns: '1,4-6,*.txt'.",
)
@click.option("--checksum", metavar="sha-256=HEX", help="What the finished file must hash to.")
@SITE
@click.option(
    "--mode",
    type=click.Choice(["fast", "offload"]),
    default="fast",
    show_default=True,
    help="fast: use whatever shortens the wait. offload: spare the servers.",
)
@click.option("--connections", type=click.IntRange(1, 16), default=4, show_default=True, help="Per server, at most.")
@click.option("--max-download", type=RATE, metavar="RATE", help="For example 2MB/s, of all TARGETs together.")
@click.option("--max-upload", type=RATE, metavar="RATE", help="What peers may take from us.")
@click.option("--seed", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Serve the file afterwards.")
@click.option("--in-order", is_flag=True, help="From the first byte to the last, for playing while it loads.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Tell the servers of TARGET and --mirror this too; never one they redirect to. Repeatable.",
)
@click.option(
    "--user",
    metavar="NAME:PASSWORD",
    help="For those same servers. Others may see it among the processes; a netrc is private.",
)
@click.option("--no-netrc", is_flag=True, help="Do not look for passwords in $NETRC or ~/.netrc.")
@click.option("--cookies", type=_FILE, help="Send the cookies of this file (Netscape's format) where they belong.")
@click.option("--referer", metavar="URL", help="The page that led to TARGET.")
@click.option("--user-agent", metavar="WORDS", help="What to call ourselves.")
@click.option("--ca-certificate", type=_FILE, help="PEM file of authorities to trust besides the platform's.")
@click.option(
    "--proxy",
    metavar="URL",
    help="HTTP proxy for all servers, '' for none; else http_proxy, https_proxy, all_proxy and no_proxy count.",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "bar", "plain", "json", "none"]),
    default="auto",
    show_default=True,
    help="How to show it, on standard error.",
)
@click.option("--why", is_flag=True, help="Say at the end what each source gave, and why it was left.")
@click.option("--summary", type=_FILE, help="Write a JSON account here when done.")
@click.option("--torrent", type=_FILE, help="Write the .torrent here when done.")
@click.option(
    "--lan/--no-lan",
    default=True,
    show_default=True,
    help="With --site: find peers on our own network by multicast, and be found.",
)
@click.option(
    "--clear-text", is_flag=True, help="Speak with foreign BitTorrent clients, too: without encryption and keys."
)
@click.option("--address", metavar="IP", help="Local address to connect from and to listen on.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
@click.option("--rename", is_flag=True, help="Write name.1.ext where name.ext is there already.")
@click.option("--fresh", is_flag=True, help="Do not go on with what an earlier run left.")
@click.option(
    "--keep-time/--no-keep-time", default=True, show_default=True, help="Give the file the server's Last-Modified."
)
@click.option(
    "--on-complete",
    metavar="COMMAND",
    help="Run this for each TARGET that is done, without a shell; $P2SP_PATH and $P2SP_TARGET tell which.",
)
@click.option("--on-error", metavar="COMMAND", help="Run this for each that fails; also $P2SP_CODE and $P2SP_ERROR.")
@click.option("--resume-all", is_flag=True, help="Go on with all that `p2sp unfinished` lists.")
@VERBOSE
def get(
    targets: tuple[str, ...],
    list_file: str | None,
    site: Path | None,
    progress: str,
    verbose: bool,
    resume_all: bool,
    why: bool,
    **given: Any,
) -> None:
    """Fetch TARGET: a URL, a magnet link, a .torrent or .meta4 file or URL, or a resource id.

    Interrupt with Ctrl-C at any time; the same command goes on where it was. Exit codes: 0 done, 2 timeout, 3 not
    found, 7 interrupted, 8 changed on the server, 9 disk full, 11 in use by another download, 13 exists already,
    22 HTTP error, 28 bad input, 32 wrong checksum, 1 anything else.
    """
    from p2sp.cli.batch import Batch
    from p2sp.cli.progress import make_progress
    from p2sp.cli.wanted import Wish, read_list, read_wishes

    def prepare() -> list[Wish]:
        texts = [*targets, *(read_list(list_file) if list_file is not None else ())]
        if not texts and not resume_all:
            raise click.UsageError("Missing argument 'TARGET...'.")
        return read_wishes(
            texts, resume_all=resume_all, site=read_site(site), site_path=site, why=why or verbose, **given
        )

    wishes = or_exit(prepare)
    if not wishes:
        click.echo("p2sp: nothing is unfinished", err=True)
        return
    run_and_exit(lambda reactor: Batch(reactor, wishes, make_progress(progress)).run(), verbose)


@click.command(short_help="List what was begun and is not done.")
@click.option("--clear", is_flag=True, help="Forget them all; what they left on disk stays.")
def unfinished(clear: bool) -> None:
    """List the downloads that were begun and are not done; `p2sp get --resume-all` takes them up."""
    from p2sp.cli.unfinished import Unfinished

    book = Unfinished.default()
    for each in or_exit(book.clear if clear else book.read):
        click.echo(f"{each.path}  {each.target}")
