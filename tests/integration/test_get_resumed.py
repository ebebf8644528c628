"""Does an interrupted `p2sp get` go on where it was, and only with the file it began with?"""

import json
import os
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from p2sp.resource.layout import piece_length_for
from tests.hostile.origin import CHUNK, noise
from tests.integration.processes import Process
from tests.integration.servers import P2SP, OriginProcess, get, marked, names, program, start_get, until

pytestmark = pytest.mark.integration

LENGTH = 12 * 1024 * 1024 + 5
PIECE = piece_length_for(LENGTH)
RATE = 1_000_000.0
"""Bytes a second on each of four connections: slow enough to be interrupted."""

IN_FLIGHT = 12 * 32 * 1024 + 4 * CHUNK
"""What the origin may have sent and a client that goes away at once not have read: the kernel's buffers."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file that the origin serves, outside the folder that is fetched into."""
    served = tmp_path / "served.bin"
    served.write_bytes(noise(LENGTH))
    (tmp_path / "here").mkdir()
    return served


def interrupt(process: Process) -> int:
    """Ctrl-C."""
    os.kill(process.pid, signal.SIGINT)
    return process.wait()


def asked_for(origin: OriginProcess, url: str) -> bool:
    """Whether the origin was asked for it."""
    return any(url.endswith(hit["path"]) for hit in origin.hits())


def test_interrupted_and_resumed(file: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with OriginProcess(file, RATE) as origin:
        with start_get(here, origin.url("honest"), "--progress", "plain", "--summary", "s.json") as process:
            origin.wait_until_sent(LENGTH // 3)
            assert interrupt(process) == 7
            assert process.log.splitlines()[-1] == "p2sp: interrupted; the same command goes on from here"
        assert names(here) == ["s.json", "x.bin.part", "x.bin.part.journal"]
        account = json.loads((here / "s.json").read_text())
        assert (account["ok"], account["error"]) == (False, "interrupted; the same command goes on from here")
        kept = marked(here / "x.bin")
        assert kept
        assert len(kept) < LENGTH / PIECE
        before, asked = origin.sent(), len(origin.hits())
        result = get(here, origin.url("honest"))
        assert result.returncode == 0, result.stderr
        assert "are there from an earlier run" in result.stderr
        missing = LENGTH - len(kept) * PIECE
        assert origin.sent() - before <= missing + IN_FLIGHT
        # The first question is what the file is; none of the others asks for what is there.
        for hit in origin.hits()[asked + 1 :]:
            first, last = map(int, hit["range"].removeprefix("bytes=").split("-"))
            assert not set(range(first // PIECE, last // PIECE + 1)) & set(kept)
    assert names(here) == ["s.json", "x.bin"]
    assert (here / "x.bin").read_bytes() == file.read_bytes()


def test_interrupted_before_anything_came(file: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with OriginProcess(file) as origin:
        for scenario in ("mute", "drip"):
            with start_get(here, origin.url(scenario)) as process:
                until(partial(asked_for, origin, origin.url(scenario)), "it has asked")
                assert interrupt(process) == 7
                assert process.log.splitlines()[-1] == "p2sp: interrupted"
    assert not (here / "x.bin").exists()


@pytest.mark.parametrize("validator", ["etag", "last_modified"])
def test_changed_between_runs(validator: str, file: Path, tmp_path: Path) -> None:
    """Same length, other bytes: never mixed."""
    here = tmp_path / "here"
    with OriginProcess(file, RATE) as origin:
        if validator == "last_modified":
            origin.set(etag="")
        with start_get(here, origin.url("honest")) as process:
            origin.wait_until_sent(LENGTH // 3)
            assert interrupt(process) == 7
        kept = marked(here / "x.bin")
        assert kept
        # Ten seconds before the answers' date.
        origin.set(**{validator: '"two"' if validator == "etag" else "Tue, 31 Dec 2024 23:59:50 GMT"})
        result = get(here, origin.url("honest"))
        assert result.returncode == 8
        [line] = result.stderr.splitlines()
        assert "x.bin has changed on the server" in line
        assert marked(here / "x.bin") == kept, "what was there is not touched"
        origin.set(rate="")
        assert get(here, origin.url("honest"), "--fresh").returncode == 0
    assert (here / "x.bin").read_bytes() == file.read_bytes()


def test_changes_while_it_runs(file: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with OriginProcess(file, RATE) as origin:
        result = get(here, origin.url("new-etag"))
        assert result.returncode == 8
        assert "changed on the server: ETag was" in result.stderr
        assert not (here / "x.bin").exists()


def test_two_at_once(file: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with OriginProcess(file, RATE / 10) as origin, start_get(here, origin.url("honest")) as first:
        origin.wait_until_sent(1)
        until((here / "x.bin.part.journal").exists, "it has begun")
        for scenario in ("honest", "chunked"):
            result = get(here, origin.url(scenario), *(["--fresh"] if scenario == "chunked" else []))
            assert result.returncode == 11, result.stderr
            [line] = result.stderr.splitlines()
            assert line == "p2sp: x.bin.part: another process is writing this download"
        assert interrupt(first) == 7
    assert not (here / "x.bin").exists()


def test_a_full_disk(file: Path, tmp_path: Path) -> None:
    """On a small file system of its own: what is there stays, nobody is blamed, and with room it goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    child = [sys.executable, "-m", "tests.integration.get_full_child", str(disk), P2SP, str(file)]
    mount = [program("mount"), "-t", "tmpfs", "-o", f"size={LENGTH + 1024 * 1024}", "none", str(disk)]
    alone = [program("unshare"), "--mount"] if os.geteuid() == 0 else [program("unshare"), "--map-root-user", "--mount"]
    command = [*alone, "sh", "-c", f"{shlex.join(mount)} && exec {shlex.join(child)}"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = json.loads(answer.stdout)
    assert told["at once"]["code"] == 9
    assert "bytes are still needed" in told["at once"]["line"]
    assert told["half-way"]["code"] == 9
    assert "x.bin.part: the disk is full" in told["half-way"]["line"]
    assert told["half-way"]["failures"] == [0]
    for each in ("unsized", "endless"):
        assert told[each] == {"code": 9, "line": told[each]["line"], "left": []}
        assert "the disk is full" in told[each]["line"]
    assert told["resumed"] == {"code": 0, "same": True, "kept": True}
