"""How does a role take its configuration from `twistd`'s command line?"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final

import msgspec
from twisted.python import usage

from p2sp.net.errors import NetError, in_words
from p2sp.ops.config import Base, ConfigError, load_config
from p2sp.ops.service import CannotStart

DEFAULT_PIDFILE: Final = "twistd.pid"


class RoleOptions(usage.Options):
    """The options every role shares; a role sets `role` and `config_type` and maybe overrides `check`.

    After parsing, `config` holds the configuration and `config_path` where it came from. A configuration that
    cannot be used ends the process with status 1 and one line, before anything forks.
    """

    role: ClassVar[str] = ""
    config_type: ClassVar[type[msgspec.Struct]] = Base

    optParameters: ClassVar[list[list[object]]] = [
        ["config", "c", None, "The role's configuration, a TOML file."],
    ]
    optFlags: ClassVar[list[list[object]]] = [
        ["check-config", None, "Say whether the configuration is good, and stop."],
    ]

    config: msgspec.Struct
    config_path: Path
    parent: Any = None
    """Twisted's own options, where twistd does the asking."""

    @property
    def name(self) -> str:
        return f"p2sp-{self.role}"

    @property
    def longdesc(self) -> str:
        """What `--help` ends with."""
        return (
            "Everything is set in one TOML file: `p2sp site init DIR` writes one for each role of a p2sp network; "
            "commented examples lie in etc of the sources and in share/p2sp of an installation. To run it in the "
            f"foreground: `twistd -n {self.name} --config FILE`. To check a file after editing: "
            f"`twistd -n {self.name} --config FILE --check-config`."
        )

    def load(self, config_path: Path) -> msgspec.Struct:
        """Read the configuration: override to say more of one that cannot be used. Raises ConfigError."""
        return load_config(config_path, self.config_type)

    def check(self, config: msgspec.Struct, config_path: Path) -> None:
        """Look deeper than types can: override, and raise ConfigError or ValueError for what does not fit."""

    def postOptions(self) -> None:
        """Load the configuration; ends the process when it cannot be used or when only a check was wanted."""
        given = self["config"]
        if given is None:
            raise usage.UsageError(f"{self.name} needs --config PATH")
        self.config_path = Path(given)
        sys.excepthook = _show_failed_start
        if self.parent is not None and self.parent["nodaemon"] and self.parent["pidfile"] == DEFAULT_PIDFILE:
            # A foreground process is found without it, and two roles run from one folder would take it from each other.
            self.parent["pidfile"] = ""
        with clean_exit(self.role):
            self.config = self.load(self.config_path)
            try:
                self.check(self.config, self.config_path)
            except ValueError as error:
                raise ConfigError(self.config_path, str(error)) from error
        if self["check-config"]:
            print(f"{self.name}: configuration {given} is good")  # noqa: T201 - the answer to the question asked
            raise SystemExit(0)


def _show_failed_start(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show what ends the process: a failed start in one line, all else as Python does."""
    if isinstance(error, CannotStart):
        # twistd has made this the log, be that a file or the terminal.
        print(f"p2sp-{error.role}: {error}", file=sys.stderr)  # noqa: T201 - there is no other place left
    else:
        sys.__excepthook__(kind, error, trace)


@contextmanager
def clean_exit(role: str) -> Iterator[None]:
    """Turn what an operator can put right into one line and exit status 1 instead of a stack trace.

    Meant around the body of a role's `makeService`.
    """
    try:
        yield
    except (ConfigError, NetError, OSError) as error:
        raise SystemExit(f"p2sp-{role}: {in_words(error)}") from error
