"""Who got what from where in the demonstration? The table at its end."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from p2sp.cli.progress import human

_HEADS = ("client", "ISP", "seconds", "server", "super node", "peers", "from outside the ISP", "sha-256")


@attrs.frozen
class Part:
    """One client's download: its summary, and what the addresses of its ISP begin with."""

    name: str
    isp: str
    prefix: str
    summary: dict[str, Any]

    @classmethod
    def read(cls, path: Path, name: str, isp: str, prefix: str) -> "Part":
        """The part whose summary is in a file."""
        return cls(name, isp, prefix, json.loads(path.read_text()))

    @property
    def outside(self) -> float:
        """The share of its bytes that came from outside its ISP."""
        total: int = sum(self.summary["bytes_by_kind"].values()) or 1
        came: int = sum(
            source["bytes"]
            for source in self.summary["sources"]
            if source["kind"] == "server" or not source["label"].split()[-1].startswith(self.prefix)
        )
        return came / total

    def row(self, digest: str) -> tuple[str, ...]:
        """Its line of the table; `digest` is what the file's must be."""
        kinds = self.summary["bytes_by_kind"]
        return (
            self.name,
            self.isp,
            f"{self.summary['seconds']:.1f}",
            human(kinds["server"]),
            human(kinds["supernode"]),
            human(kinds["peer"]),
            f"{self.outside * 100:.0f} %",
            "ok" if self.summary["sha256"] == digest else "WRONG",
        )


def told(parts: Sequence[Part], digest: str) -> list[str]:
    """The lines of the table."""
    rows = [_HEADS, *[part.row(digest) for part in parts]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
