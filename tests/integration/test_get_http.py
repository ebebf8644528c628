"""Does `p2sp get` fetch from real servers what curl does, and say well what it did?"""

import json
import os
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from p2sp.net.authority import Authority
from tests.hostile.origin import noise
from tests.integration.processes import free_port, run_once
from tests.integration.servers import (
    P2SP,
    Nginx,
    OriginProcess,
    PythonServer,
    curl,
    get,
    names,
    start_get,
)

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
SIZES = {"empty": 0, "one": 1, "leaf": 16384, "odd": MIB + 1, "large": 48 * MIB}
KEYS = {"ok", "path", "resource", "bytes", "seconds", "sha256", "verified", "bytes_by_kind", "sources"} | {
    "uploaded",
    "stalled_seconds",
    "error",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files to serve."""
    root = tmp_path_factory.mktemp("root")
    for number, (name, size) in enumerate(SIZES.items()):
        (root / f"{name}.bin").write_bytes(noise(size, number))
    (root / "tree" / "sub folder").mkdir(parents=True)
    for number, name in enumerate(("a", "sub folder/é.bin", "sub folder/empty")):
        (root / "tree" / name).write_bytes(noise((700_000, 300_001, 0)[number], number))
    return root


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for nginx."""
    return Authority.create("test authority")


@pytest.fixture(scope="module")
def nginx(root: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx") / "conf", root, authority) as server:
        yield server


@pytest.mark.parametrize("kind", ["http", "https", "python"])
def test_what_curl_gets(
    kind: str, root: Path, nginx: Nginx, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.save(tmp_path / "pki")
    trusted = tmp_path / "pki" / "ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    out, summary = tmp_path / "out", tmp_path / "summary.json"
    out.mkdir()
    with PythonServer(root) as python:
        base = {"http": nginx.plain, "https": nginx.secure, "python": python.url}[kind]
        urls = [f"{base}/{name}.bin" for name in SIZES]
        result = get(tmp_path, *urls, "-o", f"{out}/", "--summary", summary, "--jobs", "1")
        assert result.returncode == 0, result.stderr
        assert names(out) == sorted(f"{name}.bin" for name in SIZES)
        for name in SIZES:
            curl(f"{base}/{name}.bin", tmp_path / "curled", trusted)
            assert (out / f"{name}.bin").read_bytes() == (tmp_path / "curled").read_bytes()
            (tmp_path / "curled").unlink()
    assert [line.split(": ")[0] for line in result.stdout.splitlines()] == [str(out / f"{name}.bin") for name in SIZES]
    account = json.loads(summary.read_text())
    assert set(account) == KEYS
    assert (account["ok"], account["bytes"], account["verified"], account["error"]) == (True, 48 * MIB, "none", None)
    assert account["sha256"] == sha256((root / "large.bin").read_bytes()).hexdigest()
    assert account["bytes_by_kind"] == {"server": 48 * MIB, "supernode": 0, "peer": 0}
    [source] = account["sources"]
    assert set(source) == {"label", "kind", "bytes", "rate", "failures"}
    assert (source["label"], source["kind"], source["failures"]) == (urls[-1], "server", 0)


def test_nobody_vouches_for_the_server(nginx: Nginx, tmp_path: Path) -> None:
    result = get(tmp_path, f"{nginx.secure}/one.bin")
    assert result.returncode == 1
    assert "certificate" in result.stderr
    assert names(tmp_path) == []


def test_checksums(root: Path, nginx: Nginx, tmp_path: Path) -> None:
    url, summary = f"{nginx.plain}/odd.bin", tmp_path / "s.json"
    good, bad = sha256((root / "odd.bin").read_bytes()).hexdigest(), "0" * 64
    result = get(tmp_path, url, "--checksum", f"sha-256={bad}", "--summary", summary)
    assert result.returncode == 32
    assert f"sha-256 is {good}, {bad} was expected" in result.stderr
    assert "--fresh" in result.stderr
    assert names(tmp_path) == ["odd.bin.part", "odd.bin.part.journal", "s.json"], "a wrong file never takes the name"
    account = json.loads(summary.read_text())
    assert (account["ok"], account["verified"]) == (False, "none")
    assert bad in account["error"]
    result = get(tmp_path, url, "--checksum", f"SHA-256={good.upper()}", "--fresh", "--summary", summary)
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip().endswith("checksum ok")
    assert names(tmp_path) == ["odd.bin", "s.json"]
    assert json.loads(summary.read_text())["verified"] == "digest"
    result = get(tmp_path, url)
    assert (result.returncode, result.stderr) == (13, "p2sp: odd.bin exists already\n")
    (tmp_path / "odd.bin").write_bytes(b"old")
    assert get(tmp_path, url, "--overwrite").returncode == 0
    assert (tmp_path / "odd.bin").read_bytes() == (root / "odd.bin").read_bytes()


def test_where_it_goes(root: Path, nginx: Nginx, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    url = f"{nginx.plain}/one.bin"
    for output, path in (("folder", "folder/one.bin"), ("other.bin", "other.bin")):
        assert get(tmp_path, url, "-o", output).returncode == 0
        assert (tmp_path / path).read_bytes() == (root / "one.bin").read_bytes()
    result = get(tmp_path, url, "-o", "missing/x.bin")
    assert result.returncode == 1
    assert "missing" in result.stderr
    assert "No such file or directory" in result.stderr


def test_a_target_that_fails_does_not_stop_the_next(nginx: Nginx, tmp_path: Path) -> None:
    port = free_port()
    result = get(tmp_path, f"{nginx.plain}/none.bin", f"http://127.0.0.1:{port}/x", f"{nginx.plain}/one.bin", "-j1")
    assert result.returncode == 3
    first, second = result.stderr.splitlines()
    assert first == f"p2sp: {nginx.plain}/none.bin: not found (HTTP 404)"
    assert second.startswith(f"p2sp: http://127.0.0.1:{port}/x: Connection refused")
    assert names(tmp_path) == ["one.bin"]


def test_a_second_mirror_takes_over(root: Path, nginx: Nginx, tmp_path: Path) -> None:
    result = get(tmp_path, f"{nginx.plain}/none.bin", "--mirror", f"{nginx.plain}/odd.bin", "-o", "x")
    assert result.returncode == 0, result.stderr
    assert "not found" in result.stderr
    assert (tmp_path / "x").read_bytes() == (root / "odd.bin").read_bytes()


def test_progress_and_limit(nginx: Nginx, tmp_path: Path) -> None:
    url = f"{nginx.plain}/large.bin"
    kinds = ["json", "plain", "none"]
    begun = time.monotonic()
    running = [start_get(tmp_path, url, "-o", kind, "--progress", kind, "--max-download", "16MB/s") for kind in kinds]
    try:
        codes = [each.wait(60) for each in running]
        took = time.monotonic() - begun
        logs = [each.log.splitlines() for each in running]
    finally:
        for each in running:
            each.stop()
    assert codes == [0, 0, 0], logs
    # The limit holds for each; what it lets burst is a quarter of a second.
    assert took > 48 * MIB / 16e6 - 0.25
    last = [lines.pop() for lines in logs]
    assert all(": 50.3 MB in" in line for line in last)
    events = [json.loads(line) for line in logs[0]]
    assert events
    source = events.pop()
    assert (source["event"], source["name"], source["label"], source["bytes"]) == ("source", "json", url, 48 * MIB)
    assert {event["event"] for event in events} == {"progress"}
    assert {event["total"] for event in events} == {48 * MIB}
    assert [event["done"] for event in events] == sorted(event["done"] for event in events)
    assert any(0 < event["done"] < 48 * MIB and event["by_kind"]["server"] for event in events)
    assert logs[1]
    assert all(line.startswith("plain: ") and " of 50.3 MB (" in line for line in logs[1])
    assert logs[2] == []


def test_a_body_without_length(root: Path, tmp_path: Path) -> None:
    with OriginProcess(root / "odd.bin") as origin:
        for scenario in ("chunked", "no-length"):
            result = get(tmp_path, origin.url(scenario), "-o", scenario, "--summary", "s.json")
            assert result.returncode == 0, result.stderr
            assert (tmp_path / scenario).read_bytes() == (root / "odd.bin").read_bytes()
            account = json.loads((tmp_path / "s.json").read_text())
            assert account["sha256"] == sha256((root / "odd.bin").read_bytes()).hexdigest()
            assert account["bytes_by_kind"]["server"] == MIB + 1
        result = get(tmp_path, origin.url("chunked"), "-o", "chunked")
        assert (result.returncode, result.stderr) == (13, "p2sp: chunked exists already\n")
        result = get(tmp_path, origin.url("chunked-cut"), "-o", "cut")
        assert result.returncode == 1
        assert f"connection lost at byte {MIB + 1}" in result.stderr
        (tmp_path / "chunked").write_bytes(b"old")
        result = get(tmp_path, origin.url("chunked"), "-o", "chunked", "--overwrite", "--checksum", f"md5={'0' * 32}")
        assert result.returncode == 32
        assert (tmp_path / "chunked").read_bytes() == b"old", "a wrong file never takes the name"
    assert names(tmp_path) == ["chunked", "no-length", "s.json"]


def test_servers_that_break_the_rules(root: Path, tmp_path: Path) -> None:
    """One process after another meets them all; what is written is right, or nothing is."""
    truth = (root / "odd.bin").read_bytes()
    with OriginProcess(root / "odd.bin") as origin:
        good = ["ignored", "liar", "zero", "zero-all", "short", "star", "star-short", "chunked-part", "flaky", "latin"]
        bad = ["gzip", "multipart", "loop", "garbage", "huge-head"]
        (tmp_path / "out").mkdir()
        urls = [origin.url(name, f"{name}.bin") for name in [*good, *bad]]
        result = get(tmp_path, *urls, "-o", "out/", "-j1")
    assert result.returncode == 22, result.stderr
    written = {name: (tmp_path / "out" / name).read_bytes() == truth for name in names(tmp_path / "out")}
    assert written == {f"{name}.bin": True for name in good if name != "latin"} | {"café.bin": True}
    lines = [line for line in result.stderr.splitlines() if line.startswith("p2sp: ")]
    assert [line.split("/")[3] for line in lines] == bad
    assert "asking again in 0 s" in result.stderr


def test_bad_input(tmp_path: Path) -> None:
    (tmp_path / "bad.torrent").write_bytes(b"d4:infoi1ee")
    for arguments, words in (
        (["magnet:?xt=urn:btmh:zz"], "magnet:?xt=urn:btmh:zz"),
        (["bad.torrent"], "bad.torrent"),
        (["http://127.0.0.1:1/x", "http://127.0.0.1:1/y", "-o", "x"], "-o must be a folder"),
    ):
        result = get(tmp_path, *arguments)
        assert result.returncode == 28, result.stderr
        [line] = result.stderr.splitlines()
        assert words in line
    assert names(tmp_path) == ["bad.torrent"]


def test_a_folder_is_published_and_fetched(root: Path, nginx: Nginx, tmp_path: Path) -> None:
    published = run_once(
        [P2SP, "publish", str(root / "tree"), "--mirror", f"{nginx.plain}/", "--torrent", "tree.torrent"], tmp_path
    )
    assert published.returncode == 0, published.stderr
    resource, magnet = published.stdout.splitlines()
    assert magnet.startswith(f"magnet:?xt=urn:btmh:1220{resource}")
    result = get(tmp_path, "tree.torrent", "--checksum", f"md5={'0' * 32}")
    assert (result.returncode, result.stderr) == (28, "p2sp: tree is a folder, and --checksum is of one file\n")
    result = get(tmp_path, "tree.torrent", "--summary", "s.json")
    assert result.returncode == 0, result.stderr
    for folder, _, files in os.walk(root / "tree"):
        for file in files:
            path = Path(folder, file)
            assert (tmp_path / path.relative_to(root)).read_bytes() == path.read_bytes()
    account = json.loads((tmp_path / "s.json").read_text())
    assert (account["resource"], account["verified"], account["sha256"]) == (resource, "bep52", None)
    assert account["sources"][0]["failures"] == 0
    # The descriptor may lie on a server as well.
    (root / "tree.torrent").write_bytes((tmp_path / "tree.torrent").read_bytes())
    assert get(tmp_path, f"{nginx.plain}/tree.torrent", "-o", "again").returncode == 0
    assert (tmp_path / "again" / "a").read_bytes() == (root / "tree" / "a").read_bytes()
    verified = run_once([P2SP, "verify", "tree", "tree.torrent"], tmp_path)
    assert (verified.returncode, "good" in verified.stdout) == (0, True), verified.stderr
    shown = run_once([P2SP, "show", "tree.torrent"], tmp_path)
    assert f"id: {resource}" in shown.stdout
    assert re.search(r"^file \d+: sub folder/é\.bin \(300001 bytes\)$", shown.stdout, re.MULTILINE)
