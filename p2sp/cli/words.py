"""What do the words of several commands have in common?"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def site_option(without: str) -> Callable[[Any], Any]:
    """The option `--site`; `without` says what happens without it."""
    return click.option(
        "--site",
        type=click.Path(path_type=Path, exists=True),
        envvar="P2SP_SITE",
        help=f"The network to use: a site.toml or its folder (also $P2SP_SITE). Without it {without}.",
    )


SITE = site_option("only servers are asked")
VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Log what happens to standard error.")


class Quantity(click.ParamType[int]):
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


RATE = Quantity("rate", "parse_rate")


def read_site(path: Path | None) -> Any:
    """The network of `--site`. Raises ConfigError or BadIdentity."""
    if path is None:
        return None
    from p2sp.cli.site_file import load_site

    return load_site(path)


def or_exit(prepare: Callable[[], Any]) -> Any:
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


def run_and_exit(main: Callable[[Any], Any], verbose: bool) -> None:
    """Run a command on the reactor, and end with its exit code."""
    from p2sp.cli.outcome import run

    sys.exit(run(main, verbose=verbose))
