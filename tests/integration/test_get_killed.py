"""Does a `p2sp get` that is killed at any moment leave nothing but truth behind, and go on from all of it?"""

import shutil
import sys
import time
from pathlib import Path
from random import Random

import pytest

from p2sp.resource.descriptor import parse_torrent
from p2sp.resource.verification import described
from p2sp.schedule.spans import IntervalSet
from p2sp.storage.places import journal_path, part_path
from tests.hostile.origin import noise
from tests.integration.processes import Process, run_once
from tests.integration.servers import P2SP, OriginProcess, get, marked, names
from tests.storage.kit import Kit, Sample, assert_true_marks, marks, now

pytestmark = pytest.mark.integration

LENGTH = 32 * 1024 * 1024 - 7
ROUNDS = 16
RATE = 1_500_000.0
"""Bytes a second on each connection, two of them or more."""


def asked(origin: OriginProcess, since: int) -> IntervalSet:
    """The runs of bytes that were asked for since so many requests."""
    wanted = IntervalSet()
    for hit in origin.hits()[since:]:
        first, last = hit["range"].removeprefix("bytes=").split("-")
        wanted.add(int(first), int(last) + 1)
    return wanted


def examine(path: Path, sample: Sample, spare: Path) -> list[int]:
    """Open a copy of what a killed run left; the pieces that count, all of which are true."""
    spare.mkdir()
    for left in (part_path(path), journal_path(path)):
        shutil.copyfile(left, part_path(spare / path.name).with_name(left.name))
    kit = Kit(spare)
    store = kit.open(sample.content, spare / path.name)
    assert_true_marks(store, sample)
    found = marks(store)
    now(store.close())
    shutil.rmtree(spare)
    return found


def test_killed_at_any_moment(tmp_path: Path) -> None:
    rng = Random(20_250_101)
    data = noise(LENGTH)
    served, here = tmp_path / "x.bin", tmp_path / "here"
    served.write_bytes(data)
    here.mkdir()
    path = here / "x.bin"
    kept: list[int] = []
    grown = 0
    with OriginProcess(served, RATE) as origin:
        torrent = tmp_path / "x.torrent"
        made = run_once(
            [P2SP, "publish", str(served), "--torrent", str(torrent), "--mirror", origin.url("honest")], here
        )
        assert made.returncode == 0, made.stderr
        sample = Sample(described(parse_torrent(torrent.read_bytes()).descriptor), (data,))
        piece = sample.content.layout.piece_length
        command = [sys.executable, "-m", "tests.integration.get_child", "get", str(torrent), "-o", str(path)]
        for _ in range(ROUNDS):
            hits, sent = len(origin.hits()), origin.sent()
            with Process(command, Path.cwd()) as process:
                # From the first byte on any moment will do: what is asserted holds at every one.
                origin.wait_until_sent(sent + 1)
                time.sleep(rng.random() * 0.6)
                process.kill()
            wanted = asked(origin, hits)
            assert not [at for at in kept if wanted.overlap(at * piece, (at + 1) * piece)], "fetched again"
            before, kept = kept, examine(path, sample, tmp_path / "spare")
            assert set(before) <= set(kept), "lost"
            grown += len(kept) > len(before)
        assert grown >= ROUNDS // 4, "runs that keep nothing prove nothing"
        assert marked(path)
        origin.set(rate="")
        hits, sent = len(origin.hits()), origin.sent()
        result = get(here, torrent, "-o", path)
        assert result.returncode == 0, result.stderr
        assert origin.sent() - sent == LENGTH - sum(map(sample.content.layout.piece_size, kept))
        assert not [at for at in kept if asked(origin, hits).overlap(at * piece, (at + 1) * piece)]
    assert path.read_bytes() == data
    assert names(here) == ["x.bin"]
