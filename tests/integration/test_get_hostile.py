"""Does `p2sp get` keep its temper with servers that are busy, silent, or wrong in every way there is?"""

import json
import os
import select
import shlex
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from p2sp.resource.metalink import FlatPieces, MetalinkFile
from p2sp.resource.metalink_xml import write_metalink
from tests.hostile.origin import noise
from tests.integration.processes import run_once
from tests.integration.servers import P2SP, OriginProcess, get, names, program, start_get

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
LENGTH = 3 * MIB + 77
PIECE = 256 * 1024
DATA = noise(LENGTH)

WRONG = [
    *("ignored", "liar", "shifted", "zero", "zero-all", "short", "star", "star-short", "chunked-part", "chunked"),
    *("no-length", "truncated", "endless", "gzip", "multipart", "garbage", "odd-coding", "loop", "huge-head"),
    *("drip", "silent", "mute", "fickle", "moody", "flaky", "no-if-range", "new-etag"),
]
"""What the other server does."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "served.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def origin(file: Path) -> Iterator[OriginProcess]:
    with OriginProcess(file) as server:
        yield server


def described(folder: Path, name: str, *urls: str) -> Path:
    """A Metalink of the file, called `name`, with a digest of each piece."""
    hashes = tuple(sha256(DATA[at : at + PIECE]).digest() for at in range(0, LENGTH, PIECE))
    pieces = FlatPieces("sha256", PIECE, hashes)
    path = folder / f"{name}.meta4"
    path.write_bytes(write_metalink(MetalinkFile(name, LENGTH, {}, pieces, urls)))
    return path


def hits_of(origin: OriginProcess, url: str) -> list[dict[str, Any]]:
    """The requests for a URL, in order."""
    return [hit for hit in origin.hits() if url.endswith(hit["path"])]


def test_beside_an_honest_server(file: Path, origin: OriginProcess, tmp_path: Path) -> None:
    """Whatever the first one does, the file comes, and is right."""
    (tmp_path / "out").mkdir()
    with OriginProcess(file) as honest:
        lists = [described(tmp_path, name, origin.url(name), honest.url("honest", name)) for name in WRONG]
        result = get(tmp_path, *lists, "-o", "out/", "-j4", "--progress", "none")
    assert result.returncode == 0, result.stderr
    assert names(tmp_path / "out") == sorted(WRONG)
    assert [name for name in WRONG if (tmp_path / "out" / name).read_bytes() != DATA] == []


def test_who_is_busy_is_asked_again_when_it_said(origin: OriginProcess, tmp_path: Path) -> None:
    cases = [f"{status}/{how}" for status in (408, 429, 503, 520) for how in ("seconds", "date")]
    urls = [origin.url("toll", f"{case}/{case.replace('/', '-')}.bin") for case in cases]
    with ExitStack() as stack:
        running = [stack.enter_context(start_get(tmp_path, url)) for url in urls]
        for case, url, process in zip(cases, urls, running, strict=True):
            assert process.wait() == 0, process.log
            status = case.partition("/")[0]
            assert f"HTTP {status}; asking again in" in process.log
            # Others than the first three ask for parts of it.
            gaps = [after["at"] - before["at"] for before, after in pairwise(hits_of(origin, url)[:3])]
            assert len(gaps) == 2
            assert min(gaps) >= 1.0, case
            assert (tmp_path / url.rpartition("/")[2]).read_bytes() == DATA


def test_a_server_that_refuses_parts_for_now_gives_the_file_all_the_same(file: Path, tmp_path: Path) -> None:
    with OriginProcess(file, 1_000_000.0) as origin:
        url = origin.url("toll", "429/parts/x.bin")
        result = get(tmp_path, url, "--summary", "s.json")
        assert result.returncode == 0, result.stderr
        refused = [hit for hit in hits_of(origin, url) if not hit["range"].startswith("bytes=0-")]
        assert refused, "a second connection was tried"
        assert all(after["at"] - before["at"] >= 1.0 for before, after in pairwise(refused)), (
            "one at a time, a second apart"
        )
    [source] = json.loads((tmp_path / "s.json").read_text())["sources"]
    assert (source["bytes"], source["failures"]) == (LENGTH, len(refused))
    assert (tmp_path / "x.bin").read_bytes() == DATA


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_always_busy_is_given_up_on(status: int, origin: OriginProcess, tmp_path: Path) -> None:
    result = get(tmp_path, origin.url("status", f"{status}/0"), "-o", "x")
    assert result.returncode == 22
    assert result.stderr.splitlines()[-1] == f"p2sp: {origin.url('status', f'{status}/0')}: HTTP {status}"
    assert len(origin.hits()) == 5
    # The same of a server whose file is known: it is asked for a piece.
    result = get(tmp_path, described(tmp_path, "x", origin.url("status", f"{status}/0")))
    assert result.returncode == 22
    assert f"no source left; the last one failed: {origin.url('status', f'{status}/0')}: HTTP {status}" in result.stderr
    assert len(origin.hits()) == 10
    assert "x" not in names(tmp_path)


def test_who_never_answers(origin: OriginProcess, tmp_path: Path) -> None:
    """A server without TLS that keeps the connection is told from one that takes the request and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        secure = f"https://127.0.0.1:{deaf.getsockname()[1]}/x"
        with start_get(tmp_path, secure) as first, start_get(tmp_path, origin.url("mute")) as second:
            assert first.wait(30) == 2
            assert first.log.splitlines()[-1] == f"p2sp: {secure}: no TLS handshake within 10 s"
            assert second.wait(30) == 2
            assert second.log.splitlines()[-1] == f"p2sp: {origin.url('mute')}: no answer within 15 s"


def test_who_ignored_ranges_is_remembered_and_asked_again(file: Path, tmp_path: Path) -> None:
    memory = Path(os.environ["XDG_STATE_HOME"], "p2sp", "servers.json")

    def serves_parts() -> bool:
        [server] = json.loads(memory.read_text())["servers"].values()
        found: bool = server["ranges"]
        return found

    with OriginProcess(file, 1_500_000.0) as origin:
        for scenario, ranged in (("ignored", False), ("honest", True)):
            begun = len(origin.hits())
            result = get(tmp_path, described(tmp_path, scenario, origin.url(scenario)))
            assert result.returncode == 0, result.stderr
            assert (tmp_path / scenario).read_bytes() == DATA
            assert serves_parts() is ranged
            asked = origin.hits(begun)
            assert asked[0]["range"].startswith("bytes=0-")
            assert (len({hit["connection"] for hit in asked}) > 1) is ranged


def overflows() -> int:
    """How many connections this machine has turned away because nobody took the ones before."""
    names, values = (line.split() for line in Path("/proc/net/netstat").read_text().splitlines()[:2])
    return int(values[names.index("ListenOverflows")])


def test_an_ipv6_address_that_does_not_answer_beside_ipv4_that_does(origin: OriginProcess, tmp_path: Path) -> None:
    """A socket whose queue is full swallows whatever comes, as a firewall does."""
    port = int(origin.base.rpartition(":")[2])
    (tmp_path / "hosts").write_text("::1 two.test\n127.0.0.1 two.test\n")
    with socket.create_server(("::1", port), family=socket.AF_INET6, backlog=0), ExitStack() as stack:
        while True:
            filler = stack.enter_context(socket.socket(socket.AF_INET6))
            filler.setblocking(False)
            filler.connect_ex(("::1", port))
            if not select.select([], [filler], [], 0.2)[1]:
                # It would go on knocking.
                filler.close()
                break
        before = overflows()
        command = [P2SP, "get", f"http://two.test:{port}/honest/x.bin"]
        hosts = shlex.join([program("mount"), "--bind", str(tmp_path / "hosts"), "/etc/hosts"])
        alone = [program("unshare"), *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
        result = run_once([*alone, "sh", "-c", f"{hosts} && exec {shlex.join(command)}"], tmp_path)
        assert result.returncode == 0, result.stderr
        assert overflows() > before, "it was tried"
    assert (tmp_path / "x.bin").read_bytes() == DATA
