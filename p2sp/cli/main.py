"""The `p2sp` command: which words does it understand?

Everything heavy is imported inside the command that needs it: starting must cost little.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_SITE = click.option(
    "--site",
    type=click.Path(path_type=Path, exists=True),
    envvar="P2SP_SITE",
    help="The network to use: a site.toml or its folder (also $P2SP_SITE). Without it only servers are asked.",
)
_VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Log what happens to standard error.")


class _Quantity(click.ParamType[int]):
    """A size or rate for people, such as 2MB/s or 64 MiB."""

    def __init__(self, name: str, parse: str) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from p2sp.ops import config

        parse: Callable[[str], int] = getattr(config, self._parse)
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


RATE = _Quantity("rate", "parse_rate")


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


@cli.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("-o", "--output", metavar="PATH", help="File to write, or folder to write into.")
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="URL", help="Another server with the same file. Repeatable."
)
@click.option("--checksum", metavar="sha-256=HEX", help="What the finished file must hash to.")
@_SITE
@click.option(
    "--mode",
    type=click.Choice(["fast", "offload"]),
    default="fast",
    show_default=True,
    help="fast: use whatever shortens the wait. offload: spare the servers.",
)
@click.option("--connections", type=click.IntRange(1, 16), default=4, show_default=True, help="Per server, at most.")
@click.option("--max-download", type=RATE, metavar="RATE", help="For example 2MB/s.")
@click.option("--max-upload", type=RATE, metavar="RATE", help="What peers may take from us.")
@click.option("--seed", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Serve the file afterwards.")
@click.option("--in-order", is_flag=True, help="From the first byte to the last, for playing while it loads.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "bar", "plain", "json", "none"]),
    default="auto",
    show_default=True,
    help="How to show it, on standard error.",
)
@click.option("--summary", type=click.Path(path_type=Path, dir_okay=False), help="Write a JSON account here when done.")
@click.option("--torrent", type=click.Path(path_type=Path, dir_okay=False), help="Write the .torrent here when done.")
@click.option("--address", metavar="IP", help="Local address to connect from and to listen on.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
@click.option("--fresh", is_flag=True, help="Do not go on with what an earlier run left.")
@_VERBOSE
def get(
    targets: tuple[str, ...],
    output: str | None,
    mirrors: tuple[str, ...],
    checksum: str | None,
    site: Path | None,
    progress: str,
    verbose: bool,
    mode: str,
    **rest: Any,
) -> None:
    """Fetch TARGET: a URL, a magnet link, a .torrent file or URL, or a resource id.

    Interrupt with Ctrl-C at any time; the same command goes on where it was. Exit codes: 0 done, 2 timeout, 3 not
    found, 7 interrupted, 8 changed on the server, 9 disk full, 11 in use by another download, 13 exists already,
    22 HTTP error, 28 bad input, 32 wrong checksum, 1 anything else.
    """
    from p2sp.cli.get import Getter
    from p2sp.cli.job import GetOptions
    from p2sp.cli.progress import make_progress
    from p2sp.cli.targets import check_url, parse_checksum, parse_target
    from p2sp.schedule.scheduler import Mode

    def prepare() -> tuple[list[Any], GetOptions]:
        from p2sp.cli.outcome import UserError

        parsed = [parse_target(text) for text in targets]
        if len(targets) > 1 and (
            mirrors or checksum or (output and not (output.endswith("/") or Path(output).is_dir()))
        ):
            raise UserError("several TARGETs take neither --mirror nor --checksum, and -o must be a folder", 28)
        return parsed, GetOptions(
            output=output,
            mirrors=tuple(map(check_url, mirrors)),
            checksum=parse_checksum(checksum) if checksum else None,
            site=_load_site(site),
            mode=Mode(mode),
            **rest,
        )

    parsed, options = _or_exit(prepare)
    _run(lambda reactor: Getter(reactor, options, make_progress(progress)).get_all(parsed), verbose)


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="FILE...")
@click.option("--mirror", "mirrors", multiple=True, metavar="URL", help="A server that carries it. Repeatable.")
@_SITE
@click.option(
    "--torrent",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the .torrent here; a p2sp-peer seeds what lies beside it.",
)
@_VERBOSE
def publish(
    files: tuple[Path, ...], mirrors: tuple[str, ...], site: Path | None, torrent: Path | None, verbose: bool
) -> None:
    """Describe FILE (a file or a folder) and tell the index of --site; prints id and magnet link.

    A mirror is a URL of the file itself, or of the folder it lies in when it ends in '/'.
    """
    from p2sp.cli.publish import publish_all
    from p2sp.cli.targets import check_url

    loaded, mirrors = _or_exit(lambda: (_load_site(site), tuple(map(check_url, mirrors))))
    _run(lambda reactor: publish_all(reactor, files, mirrors, loaded, torrent), verbose)


@cli.command()
@click.argument("target")
@_SITE
@_VERBOSE
def show(target: str, site: Path | None, verbose: bool) -> None:
    """Say what TARGET is: name, size, pieces, files and who carries it."""
    from p2sp.cli.show import show_target
    from p2sp.cli.targets import parse_target

    parsed, loaded = _or_exit(lambda: (parse_target(target), _load_site(site)))
    _run(lambda reactor: show_target(reactor, parsed, loaded), verbose)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.argument("target")
@_SITE
@_VERBOSE
def verify(file: Path, target: str, site: Path | None, verbose: bool) -> None:
    """Check FILE (or folder) against TARGET, piece by piece; exit code 32 when it differs."""
    from p2sp.cli.show import verify_file
    from p2sp.cli.targets import parse_target

    parsed, loaded = _or_exit(lambda: (parse_target(target), _load_site(site)))
    _run(lambda reactor: verify_file(reactor, file, parsed, loaded), verbose)


@cli.group()
def site() -> None:
    """Make a network of your own."""


@site.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address or name the services are reached at.")
@click.option("--port", type=click.IntRange(1, 65000), default=9400, show_default=True, help="First of ten ports used.")
@click.option(
    "--isp",
    "isps",
    multiple=True,
    metavar="NAME=PREFIX[,PREFIX...]",
    help="An ISP and its addresses. Repeatable; without it, one ISP 'home' with the host's own.",
)
def site_init(folder: Path, host: str, port: int, isps: tuple[str, ...]) -> None:
    """Make CA, keys, a configuration for each role, and the site.toml that clients use, in DIR."""
    from p2sp.site.init import init_site

    for line in _or_exit(lambda: init_site(folder, host, port, isps)):
        click.echo(line)


@cli.command()
@click.option("--size", type=click.IntRange(1, 4096), default=64, show_default=True, metavar="MIB", help="File size.")
@click.option("--file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Your own file instead.")
@click.option("--keep", is_flag=True, help="Keep the folder with configurations and logs.")
def demo(size: int, file: Path | None, keep: bool) -> None:
    """Start a whole network on loopback and watch a file spread through it; under two minutes."""
    from p2sp.cli.demo import run_demo

    sys.exit(run_demo(size * 1024 * 1024, file, keep))


def _load_site(path: Path | None) -> Any:
    from p2sp.cli.site_file import load_site

    return load_site(path) if path is not None else None


def _or_exit(prepare: Callable[[], Any]) -> Any:
    """Do what needs no network; its errors end the command with a sentence."""
    from p2sp.cli.outcome import describe

    try:
        return prepare()
    except Exception as error:
        known = describe(error)
        if known is None:
            raise
        message, code = known
        click.echo(f"p2sp: {message}", err=True)
        sys.exit(code)


def _run(main: Callable[[Any], Any], verbose: bool) -> None:
    from p2sp.cli.outcome import run

    sys.exit(run(main, verbose=verbose))


def main() -> None:
    """Entry point of the `p2sp` script."""
    cli()
