"""What does the user see while a download runs?"""

import json
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from p2sp.download.report import SourceSummary
from p2sp.schedule.spans import Kind

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

WORDS = {Kind.SERVER: "server", Kind.SUPERNODE: "super node", Kind.PEER: "peer"}
COLOURS = {Kind.SERVER: "blue", Kind.SUPERNODE: "magenta", Kind.PEER: "green"}


@attrs.frozen
class Snapshot:
    """How far a download is. Bytes, bytes a second, seconds; `total` is None while unknown."""

    name: str
    total: int | None
    done: int
    rate: float
    by_kind: dict[str, int]
    sources: int

    @property
    def eta(self) -> float | None:
        """Seconds left at this rate."""
        if self.total is None or self.rate <= 0:
            return None
        return max(self.total - self.done, 0) / self.rate


class Progress(Protocol):
    """Something that shows snapshots, of several downloads side by side; `done` says that one of them is over.

    `why` tells the account of each source of a download that is over.
    """

    interval: float
    explains: bool
    """Whether it takes the account of every source unasked."""

    def show(self, snapshot: Snapshot) -> None: ...

    def done(self, name: str) -> None: ...

    def say(self, news: str) -> None: ...

    def why(self, name: str, sources: Sequence[SourceSummary]) -> None: ...

    def close(self) -> None: ...


def human(count: float) -> str:
    """A count of bytes for people: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def clock_time(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    whole = int(seconds + 0.5)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def kinds_in_words(by_kind: dict[str, int]) -> str:
    """`server 12 %, peer 88 %`; kinds that gave nothing are left out."""
    total = sum(by_kind.values())
    if not total:
        return ""
    return ", ".join(f"{WORDS[kind]} {by_kind[kind] * 100 / total:.0f} %" for kind in Kind if by_kind.get(kind))


def source_in_words(source: SourceSummary) -> str:
    """What a source gave, how fast, and what was to be said of it."""
    line = f"{WORDS[Kind(source.kind)]} {source.label}: {human(source.bytes)} at {human(source.rate)}/s"
    if source.failures:
        line += f", {source.failures} failure{'' if source.failures == 1 else 's'}"
    return "; ".join([line, *source.notes])


class PlainProgress:
    """A line now and then, for pipes and log files."""

    interval = 2.0
    explains = False

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last: dict[str, str] = {}

    def show(self, snapshot: Snapshot) -> None:
        part = f" of {human(snapshot.total)}" if snapshot.total is not None else ""
        percent = f" ({snapshot.done * 100 // snapshot.total} %)" if snapshot.total else ""
        kinds = kinds_in_words(snapshot.by_kind)
        line = (
            f"{snapshot.name}: {human(snapshot.done)}{part}{percent} at {human(snapshot.rate)}/s "
            f"from {snapshot.sources} source{'' if snapshot.sources == 1 else 's'}{'; ' + kinds if kinds else ''}"
        )
        if line != self._last.get(snapshot.name):
            print(line, file=self._out, flush=True)
        self._last[snapshot.name] = line

    def done(self, name: str) -> None:
        self._last.pop(name, None)

    def say(self, news: str) -> None:
        print(news, file=self._out, flush=True)

    def why(self, name: str, sources: Sequence[SourceSummary]) -> None:
        for source in sources:
            self.say(f"{name}: {source_in_words(source)}")

    def close(self) -> None:
        """Lines need no end."""


class JsonProgress:
    """One JSON object a line, for programs."""

    interval = 1.0
    explains = True

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, snapshot: Snapshot) -> None:
        self._write({"event": "progress", **attrs.asdict(snapshot), "eta": snapshot.eta})

    def done(self, name: str) -> None:
        """Nothing is kept of it."""

    def say(self, news: str) -> None:
        self._write({"event": "news", "text": news})

    def why(self, name: str, sources: Sequence[SourceSummary]) -> None:
        for source in sources:
            self._write({"event": "source", "name": name, **msgspec.to_builtins(source)})

    def _write(self, value: dict[str, Any]) -> None:
        print(json.dumps(value), file=self._out, flush=True)

    def close(self) -> None:
        """Lines need no end."""


class NoProgress:
    """Silence, but for what is asked for."""

    interval = 3600.0
    explains = False

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, snapshot: Snapshot) -> None:
        """Nothing is shown."""

    def done(self, name: str) -> None:
        """Nothing was shown."""

    def say(self, news: str) -> None:
        """Nothing is said."""

    def why(self, name: str, sources: Sequence[SourceSummary]) -> None:
        for source in sources:
            print(f"{name}: {source_in_words(source)}", file=self._out, flush=True)

    def close(self) -> None:
        """Nothing was begun."""


class BarProgress:
    """A bar in the colours of the kinds of source, for terminals."""

    interval = 0.25
    explains = False

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rows: dict[str, Any] = {}

    @cached_property
    def _console(self) -> "Console":
        # Drawing is slow to import; pipes, scripts and what is done before there is something to draw never pay for it.
        from rich.console import Console

        return Console(file=self._out)

    @cached_property
    def _live(self) -> "Live":
        from rich.live import Live

        live = Live("", console=self._console, auto_refresh=False, transient=True)
        live.start()
        return live

    def show(self, snapshot: Snapshot) -> None:
        self._rows[snapshot.name] = self._draw(snapshot)
        self._refresh()

    def done(self, name: str) -> None:
        if self._rows.pop(name, None) is not None:
            self._refresh()

    def _refresh(self) -> None:
        from rich.console import Group

        self._live.update(Group(*self._rows.values()), refresh=True)

    def _draw(self, snapshot: Snapshot) -> Any:
        from rich.text import Text

        width = max(min(self._console.width - 60, 50), 10)
        line = Text(f"{snapshot.name[:30]} ")
        total = snapshot.total or snapshot.done or 1
        share = min(snapshot.done / total, 1.0)
        given = sum(snapshot.by_kind.values()) or 1
        filled = 0
        for kind in Kind:
            cells = round(share * width * snapshot.by_kind.get(kind, 0) / given)
            cells = min(cells, width - filled)
            line.append("━" * cells, style=COLOURS[kind])
            filled += cells
        line.append("─" * (width - filled), style="dim")
        line.append(f" {share * 100:3.0f} % {human(snapshot.rate)}/s")
        if snapshot.eta is not None:
            line.append(f" {clock_time(snapshot.eta)}")
        if kinds := kinds_in_words(snapshot.by_kind):
            line.append(f"  {kinds}", style="dim")
        return line

    def say(self, news: str) -> None:
        # Names of files and servers are no markup.
        self._console.print(news, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def why(self, name: str, sources: Sequence[SourceSummary]) -> None:
        for source in sources:
            self.say(f"{name}: {source_in_words(source)}")

    def close(self) -> None:
        if "_live" in vars(self):
            self._live.stop()


def make_progress(kind: str, out: TextIO = sys.stderr) -> Progress:
    """The view for `--progress`; `auto` is a bar on a terminal and lines elsewhere."""
    if kind == "auto":
        kind = "bar" if out.isatty() else "plain"
    makers: dict[str, Callable[[TextIO], Progress]] = {
        "bar": BarProgress,
        "plain": PlainProgress,
        "json": JsonProgress,
    }
    return makers.get(kind, NoProgress)(out)


class Ticker:
    """Shows a fresh snapshot at the view's own pace."""

    def __init__(self, clock: IReactorTime, view: Progress, look: Callable[[], Snapshot]) -> None:
        self._view = view
        self._look = look
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin."""
        self._loop.start(self._view.interval, now=False)

    def _tick(self) -> None:
        self._view.show(self._look())

    def stop(self) -> None:
        """End."""
        if self._loop.running:
            self._loop.stop()
