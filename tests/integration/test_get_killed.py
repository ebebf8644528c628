"""Does a `p2sp get` that is killed at any moment leave nothing but truth behind, and go on from all of it?"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest

from p2sp.resource.descriptor import parse_torrent
from p2sp.resource.verification import described
from p2sp.schedule.spans import IntervalSet
from p2sp.storage.places import journal_path, part_path
from tests.hostile.origin import noise
from tests.integration.processes import run_once
from tests.integration.servers import P2SP, OriginProcess, get, names
from tests.storage.kit import Kit, Sample, assert_true_marks, marks, now

pytestmark = pytest.mark.integration

LENGTH = 12 * 1024 * 1024 - 7
ROUNDS = 200
LONGEST = 1.0
"""The longest life, in downloads from beginning to end: so most are cut off, on a slow machine as well."""

SEED = int(os.environ.get("P2SP_KILL_SEED", "20250101"))


class Zygote:
    """A process whose children are `p2sp`, each killed after so many seconds."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self.log = log

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ready(self) -> bool:
        """Wait until it can fork."""
        return self._line() == "ready"

    def run(self, after: float | None, *arguments: object) -> int:
        """One life; its exit code, or the signal as a negative number."""
        assert self._process.stdin is not None
        wish = {"arguments": [*map(str, arguments)], "after": after, "log": str(self.log)}
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        return int(self._line())


@contextmanager
def zygote(log: Path) -> Iterator[Zygote]:
    """Such a process, ready, and gone afterwards."""
    command = [sys.executable, "-m", "tests.integration.get_zygote"]
    pipe = subprocess.PIPE
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) as process:
        try:
            found = Zygote(process, log)
            assert found.ready()
            yield found
        finally:
            process.kill()


def asked(origin: OriginProcess, since: int) -> IntervalSet:
    """The runs of bytes that were asked for since so many requests."""
    wanted = IntervalSet()
    for hit in origin.hits(since):
        first, last = hit["range"].removeprefix("bytes=").split("-")
        wanted.add(int(first), int(last) + 1)
    return wanted


def examine(path: Path, sample: Sample, spare: Path) -> list[int]:
    """Open a copy of what a killed run left; the pieces that count, all of which are true."""
    if not journal_path(path).exists():
        # A copy would have bytes where this has none.
        assert not part_path(path).exists() or not part_path(path).stat().st_blocks, "bytes that no journal knows"
        return []
    shutil.copytree(path.parent, spare)
    store = Kit(spare).open(sample.content, spare / path.name)
    assert_true_marks(store, sample)
    found = marks(store)
    now(store.close())
    shutil.rmtree(spare)
    return found


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Two hundred lives, one after another; what is asserted holds wherever each of them was cut off."""
    sys.stdout.write(f"P2SP_KILL_SEED={SEED}\n")
    rng = Random(SEED)
    data = noise(LENGTH)
    served, here = tmp_path / "x.bin", tmp_path / "here"
    served.write_bytes(data)
    here.mkdir()
    path = here / "x.bin"
    kept: list[int] = []
    grown = completed = killed = 0
    with OriginProcess(served) as origin, zygote(tmp_path / "log") as parent:
        torrent = tmp_path / "x.torrent"
        made = run_once(
            [P2SP, "publish", str(served), "--torrent", str(torrent), "--mirror", origin.url("honest")], here
        )
        assert made.returncode == 0, made.stderr
        sample = Sample(described(parse_torrent(torrent.read_bytes()).descriptor), (data,))
        piece = sample.content.layout.piece_length

        def went_on(since: int) -> int:
            """See that nothing was asked for that was there; how often was asked."""
            wanted = asked(origin, since)
            again = [at for at in kept if wanted.overlap(at * piece, (at + 1) * piece)]
            assert not again, f"fetched again: {again}"
            return len(origin.hits(since))

        words = "get", torrent, "-o", path, "--progress", "none"
        whole: list[float] = []
        for _ in range(3):
            begun = time.monotonic()
            assert parent.run(None, *words) == 0, parent.log.read_text()
            whole.append(time.monotonic() - begun)
            path.unlink()
        longest = LONGEST * sorted(whole)[1]
        seen = len(origin.hits())
        for _ in range(ROUNDS):
            status = parent.run(rng.random() * longest, *words)
            assert status in (0, -SIGKILL), parent.log.read_text()
            killed += status == -SIGKILL
            seen += went_on(seen)
            if path.exists():
                # It had its name, whatever was left to tidy up.
                assert path.read_bytes() == data
                completed += 1
                kept = []
                for name in names(here):
                    (here / name).unlink()
                continue
            assert status == -SIGKILL
            before, kept = kept, examine(path, sample, tmp_path / "spare")
            assert set(before) <= set(kept), "lost"
            grown += len(kept) > len(before)
        assert killed > ROUNDS // 4, "runs that are not killed prove nothing"
        assert grown + completed >= ROUNDS // 10, "runs that keep nothing prove nothing"
        sent = origin.sent()
        result = get(here, torrent, "-o", path)
        assert result.returncode == 0, result.stderr
        assert origin.sent() - sent == LENGTH - sum(map(sample.content.layout.piece_size, kept))
        went_on(seen)
    sys.stdout.write(f"lives of {longest:.2f} s at most: {killed} killed, {grown} grew, {completed} completed\n")
    assert path.read_bytes() == data
    assert names(here) == ["x.bin"]
    assert "Traceback" not in (tmp_path / "log").read_text()
