"""The `p2sp` command: which words does it understand?

Everything heavy is imported inside the command that needs it: starting must cost little.
"""

import gc
import sys
from pathlib import Path

import click

from p2sp.cli.get_words import get, unfinished
from p2sp.cli.words import SITE, VERBOSE, or_exit, read_site, run_and_exit, site_option


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="p2sp")
def cli() -> None:
    """Download files from servers, peers and super nodes at once, and publish them.

    \b
    p2sp get https://example.org/big.iso            one file, resumable
    p2sp get URL --mirror URL2 --checksum sha-256=HEX
    p2sp site init mynet                            a network of your own
    p2sp publish big.iso --site mynet --mirror URL
    p2sp demo                                       watch a whole network at work
    """


cli.add_command(get)
cli.add_command(unfinished)


@cli.command(short_help="Describe a file or folder, and make it known.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="FILE...")
@click.option("--mirror", "mirrors", multiple=True, metavar="URL", help="A server that carries it. Repeatable.")
@site_option("nobody is told")
@click.option(
    "--torrent",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the .torrent here; a p2sp-peer seeds what lies beside it.",
)
@click.option(
    "--metalink",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a Metalink (.meta4) of the file here, with every --mirror and a hash of each piece.",
)
@click.option("--hybrid", is_flag=True, help="Also for BitTorrent v1 (aria2, Transmission); gives another id.")
@click.option(
    "--tracker", "trackers", multiple=True, metavar="URL", help="For foreign clients: http, https or udp. Repeatable."
)
@VERBOSE
def publish(
    files: tuple[Path, ...],
    mirrors: tuple[str, ...],
    site: Path | None,
    torrent: Path | None,
    metalink: Path | None,
    hybrid: bool,
    trackers: tuple[str, ...],
    verbose: bool,
) -> None:
    """Describe FILE, a file or a folder, and tell the index of a network; prints id and magnet link.

    A mirror is a URL of the file itself, or of the folder it lies in when it ends in '/'.
    """
    from p2sp.cli.publish import publish_all
    from p2sp.cli.targets import check_tracker, check_url

    loaded, mirrors, trackers = or_exit(
        lambda: (read_site(site), tuple(map(check_url, mirrors)), tuple(map(check_tracker, trackers)))
    )
    run_and_exit(
        lambda reactor: publish_all(reactor, files, mirrors, loaded, torrent, metalink, trackers, hybrid=hybrid),
        verbose,
    )


@cli.command(short_help="Say what TARGET is and who carries it.")
@click.argument("target")
@SITE
@VERBOSE
def show(target: str, site: Path | None, verbose: bool) -> None:
    """Say what TARGET is: name, size, pieces, files and who carries it."""
    from p2sp.cli.show import show_target
    from p2sp.cli.targets import parse_target

    parsed, loaded = or_exit(lambda: (parse_target(target), read_site(site)))
    run_and_exit(lambda reactor: show_target(reactor, parsed, loaded), verbose)


@cli.command(short_help="Check a file against TARGET, piece by piece.")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.argument("target")
@SITE
@VERBOSE
def verify(file: Path, target: str, site: Path | None, verbose: bool) -> None:
    """Check FILE (or folder) against TARGET, piece by piece; exit code 32 when it differs."""
    from p2sp.cli.show import verify_file
    from p2sp.cli.targets import parse_target

    parsed, loaded = or_exit(lambda: (parse_target(target), read_site(site)))
    run_and_exit(lambda reactor: verify_file(reactor, file, parsed, loaded), verbose)


_STATE = click.option(
    "--state", metavar="PATH", help="Where roles keep what they write, as /var/lib/p2sp is; else within DIR."
)


@cli.group(short_help="Make a network of your own, and add to it.")
def site() -> None:
    """Make a network of your own."""


@site.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address or name the services are reached at.")
@click.option(
    "--port",
    type=click.IntRange(1, 65000),
    default=9400,
    show_default=True,
    help="First of eight ports; metrics are 1000 further, pages 2000.",
)
@click.option(
    "--isp",
    "isps",
    multiple=True,
    metavar="NAME=PREFIX[,PREFIX...]",
    help="An ISP and its addresses. Repeatable; without it, one ISP 'home' with all private addresses.",
)
@_STATE
def site_init(folder: Path, host: str, port: int, isps: tuple[str, ...], state: str | None) -> None:
    """Make an authority, keys, a configuration for each role, and the site.toml that clients use, in DIR."""
    from p2sp.site.init import init_site

    for line in or_exit(lambda: init_site(folder, host, port, isps, state)):
        click.echo(line)


@site.command("add")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("role", type=click.Choice(["supernode", "tracker", "peer", "publisher", "operator"]))
@click.option("--name", required=True, help="What its files are called.")
@click.option("--host", default="", help="Address or name it is reached at.")
@click.option("--port", type=click.IntRange(1, 65534), default=None, help="Its port; the wire is on the next one.")
@click.option("--isp", default="", metavar="NAME", help="For a tracker: the ISP of the network map whose it is.")
@_STATE
def site_add(folder: Path, role: str, name: str, host: str, port: int | None, isp: str, state: str | None) -> None:
    """Add to the network in DIR: a super node, a local tracker, a peer, or a key to publish or to operate with."""
    from p2sp.site.growth import add_to_site

    for line in or_exit(lambda: add_to_site(folder, role, name, host, port or 0, isp, state)):
        click.echo(line)


@site.command("renew")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False, exists=True))
def site_renew(folder: Path) -> None:
    """Renew the certificates of the network in DIR, which are good for five years; keys and node ids stay."""
    from p2sp.site.growth import renew_site

    for line in or_exit(lambda: renew_site(folder)):
        click.echo(line)


@cli.command(short_help="Watch a whole network at work, on this machine.")
@click.option("--size", type=click.IntRange(1, 4096), default=64, show_default=True, metavar="MIB", help="File size.")
@click.option("--file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Your own file instead.")
@click.option("--keep", is_flag=True, help="Keep the folder with configurations and logs.")
@click.option("--linger", type=click.FloatRange(0), default=0, metavar="SECONDS", help="Stay up so long after the end.")
def demo(size: int, file: Path | None, keep: bool, linger: float) -> None:
    """Start a whole network on loopback and watch a file spread through it; under two minutes.

    While it runs, the pages of its statistics server and its manager can be looked at in a browser.
    """
    from p2sp.cli.demo import run_demo

    sys.exit(run_demo(size * 1024 * 1024, file, keep, linger))


def main() -> None:
    """The command, once it can be interrupted (see `start`)."""
    # Importing makes a great deal that stays and nothing to collect; `outcome.run` turns the collector on again.
    gc.disable()
    cli()
