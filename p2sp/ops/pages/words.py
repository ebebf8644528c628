"""How do pages put numbers into words? Pure."""

from datetime import UTC, datetime
from typing import Final

_BINARY: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SPANS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))
SHOWN_ID: Final = 12
"""Hex digits shown of an id: enough to tell two apart, few enough for a phone."""

SHOWN_NAME: Final = 40
"""Characters shown of a name: it shares a line of a table with numbers."""


def in_bytes(count: float) -> str:
    """Bytes as `1.25 GiB`: three digits that count."""
    value, unit = _in_unit(count)
    digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def _in_unit(count: float) -> tuple[float, str]:
    value, unit = float(count), 0
    # 999.5 would be shown as 1000 of the smaller unit.
    while value >= 999.5 and unit < len(_BINARY) - 1:
        value, unit = value / 1024, unit + 1
    return value, _BINARY[unit]


def in_rate(rate: float) -> str:
    """Bytes a second; a dash where nothing is known."""
    return f"{in_bytes(rate)}/s" if rate > 0 else "-"


def on_axis(rate: float) -> str:
    """Bytes a second at a line of a grid, which is round: no digits that say nothing."""
    value, unit = _in_unit(rate)
    return f"{value:.3g} {unit}/s"


def in_percent(share: float) -> str:
    """A share of 1 as percent; what is neither none nor all is not rounded to that."""
    percent = share * 100
    if 0 < percent < 1:
        return "< 1 %"
    if 99 < percent < 100:
        return "> 99 %"
    return f"{percent:.0f} %"


def in_time(seconds: float) -> str:
    """A span of time in the unit that suits it."""
    for size, unit in _SPANS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 9.95 or seconds == round(seconds) else f"{seconds:.1f} s"


def in_ago(then: float, now: float) -> str:
    """How long ago a moment was; a clock that is a little ahead makes no future of it."""
    return f"{in_time(max(round(now - then), 0))} ago"


def at_clock(moment: float, *, window: float = 0.0) -> str:
    """A moment (seconds since 1970) in UTC, as exact as befits a window of so many seconds."""
    form = "%H:%M:%S" if window <= 900 else "%H:%M" if window <= 86_400 else "%d %b %H:%M"
    return datetime.fromtimestamp(moment, UTC).strftime(form)


def short_id(text: str) -> str:
    """The beginning of a resource id or node id."""
    return text[:SHOWN_ID]


def printable(name: str) -> str:
    """A name without what cannot be seen, as the marks that turn the direction of the text around them."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name)


def in_short(name: str) -> str:
    """A name that somebody chose, in a length that fits, its end included."""
    clean = printable(name)
    return clean if len(clean) <= SHOWN_NAME else f"{clean[: SHOWN_NAME - 13]}\u2026{clean[-12:]}"


def of_isp(isp: str | None) -> str:
    """An ISP's name, or what stands for one that is not known."""
    return isp or "unknown"
