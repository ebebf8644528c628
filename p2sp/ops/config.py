"""What has the operator asked for, and is it sound?"""

import re
from pathlib import Path
from typing import Final, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

LARGEST_FILE: Final = 1024 * 1024


class ConfigError(Exception):
    """A configuration file cannot be used; `str()` names the file and, where there is one, the key."""

    def __init__(self, path: Path | str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = Path(path)
        self.message = message


class Base(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What every role's configuration holds; relative paths start at the configuration file's folder.

    `identity` is the node's PEM file (key and certificate), `authority` the network's `ca.pem`, `state` the
    folder the role may write to. `metrics` is the loopback address where Prometheus may read, None for nowhere.
    """

    listen: str
    identity: str
    authority: str
    state: str
    metrics: str | None = None


def load_config(path: Path, kind: type[T]) -> T:
    """Read a TOML file into a `kind`.

    Raises ConfigError for a file that is missing, not TOML, or whose values do not fit; the message names the
    key by its path (`$.tls.foo`).
    """
    # Late: commands import this room for its errors and its units, and most read no file.
    import tomllib

    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(path, error.strerror or str(error)) from error
    if len(text) > LARGEST_FILE:
        raise ConfigError(path, f"is larger than {LARGEST_FILE} bytes")
    try:
        values = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"is not TOML: {error}") from error
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(path, _explain(str(error))) from error


_WHERE: Final = re.compile(r"(?P<what>.*?)(?: - at `(?P<where>\$[^`]*)`)?", re.S)
_FIELD: Final = re.compile(r"field `(?P<field>[^`]+)`")


def _explain(message: str) -> str:
    """Put the key's path first; msgspec names only the table when a field is unknown or missing."""
    match = _WHERE.fullmatch(message)
    what, where = (match["what"], match["where"] or "$") if match else (message, "$")
    if (field := _FIELD.search(what)) is not None:
        if "unknown" in what:
            return f"{where}.{field['field']} is not a setting"
        if "missing" in what:
            return f"{where}.{field['field']} is required"
    return f"{where}: {what[:1].lower()}{what[1:]}"


def resolve(config_path: Path, value: str) -> Path:
    """The absolute path a setting names; a relative one starts at the configuration file's folder."""
    return (config_path.resolve().parent / Path(value).expanduser()).absolute()


_SIZES: Final = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1000,
    "kib": 1024,
    "m": 1000**2,
    "mb": 1000**2,
    "mib": 1024**2,
    "g": 1000**3,
    "gb": 1000**3,
    "gib": 1024**3,
    "t": 1000**4,
    "tb": 1000**4,
    "tib": 1024**4,
}
_DURATIONS: Final = {
    "ms": 0.001,
    "": 1.0,
    "s": 1.0,
    "min": 60.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_QUANTITY: Final = re.compile(r"\s*(?P<number>\d{1,18}(?:\.\d{1,9})?)\s*(?P<unit>[A-Za-z]*)\s*", re.ASCII)


def _quantity(text: str | float, units: dict[str, float] | dict[str, int], what: str, example: str) -> float:
    match = _QUANTITY.fullmatch(str(text))
    unit = None if match is None else units.get(match["unit"].lower())
    if match is None or unit is None:
        raise ValueError(f"{text!r} is not a {what} such as {example}")
    return float(match["number"]) * unit if "." in match["number"] else int(match["number"]) * unit


def parse_size(text: str | int) -> int:
    """Bytes from `64 MiB` (binary), `2MB` or `2M` (decimal) or a bare number; ValueError otherwise."""
    return round(_quantity(text, _SIZES, "size", "64 MiB, 2MB or 4096"))


def parse_duration(text: str | float) -> float:
    """Seconds from `250ms`, `30s`, `5min`, `2h`, `7d` or a bare number; ValueError otherwise."""
    return float(_quantity(text, _DURATIONS, "duration", "30s, 5min, 2h or 7d"))


def parse_rate(text: str | int) -> int:
    """Bytes a second from `2MB/s`, `500K` or a bare number; ValueError otherwise."""
    plain = re.sub(r"/\s*s(?:ec)?\s*$", "", str(text)) if isinstance(text, str) else text
    return round(_quantity(plain, _SIZES, "rate", "2MB/s, 500K or 65536"))
