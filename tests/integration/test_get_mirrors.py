"""Does `p2sp get` make one file of several servers only where they hold the same, whatever one of them does?"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.origin import noise
from tests.integration.processes import run_once
from tests.integration.servers import P2SP, OriginProcess, get, start_get

pytestmark = pytest.mark.integration

LENGTH = 12 * 1024 * 1024 + 77
RATE = 1_500_000.0
"""Bytes a second for each answer."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What the first server holds."""
    path = tmp_path / "served.bin"
    path.write_bytes(noise(LENGTH))
    return path


def told(folder: Path) -> dict[str, dict[str, Any]]:
    """What the summary says of each source, by its label."""
    summary = json.loads((folder / "s.json").read_text())
    return {source["label"]: source for source in summary["sources"]}


def test_servers_that_agree_are_used_together(file: Path, tmp_path: Path) -> None:
    with OriginProcess(file, RATE) as one, OriginProcess(file, RATE) as two:
        two.set(etag='"of its own"')
        first, second = one.url("honest"), two.url("honest")
        result = get(tmp_path, first, "--mirror", second, "--summary", "s.json", "-o", "x.bin")
        assert result.returncode == 0, result.stderr
        sources = told(tmp_path)
        assert min(sources[first]["bytes"], sources[second]["bytes"]) > LENGTH // 10
        assert "notes" not in sources[second]
    assert (tmp_path / "x.bin").read_bytes() == file.read_bytes()


def test_a_server_of_another_version_gives_nothing(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(noise(LENGTH, seed=2))
    with OriginProcess(file, RATE) as one, OriginProcess(other, RATE) as two:
        two.set(etag='"of its own"')
        first, second = one.url("honest"), two.url("honest")
        result = get(tmp_path, first, "--mirror", second, "--summary", "s.json", "-o", "x.bin")
        assert result.returncode == 0, result.stderr
        assert f"{second} is left out: its bytes 0 to 65535 differ from those of {first}" in result.stderr
        sources = told(tmp_path)
        assert sources[second]["bytes"] == 0
        assert "is left out" in sources[second]["notes"][0]
    assert (tmp_path / "x.bin").read_bytes() == file.read_bytes()


def test_a_server_that_spoils_pieces_is_found_out_and_named(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(noise(LENGTH, seed=2))
    with OriginProcess(file, RATE) as one, OriginProcess(other, RATE) as two:
        first, second = one.url("honest"), two.url("honest")
        torrent = tmp_path / "x.torrent"
        mirrors = ["--mirror", first, "--mirror", second]
        made = run_once([P2SP, "publish", str(file), "--torrent", str(torrent), *mirrors], tmp_path)
        assert made.returncode == 0, made.stderr
        result = get(tmp_path, torrent, "--summary", "s.json", "-o", "x.bin")
        assert result.returncode == 0, result.stderr
        sources = told(tmp_path)
        assert "sent bad data" in sources[second]["notes"][-1]
        assert f"{second}: sent bad data" in result.stderr
    assert (tmp_path / "x.bin").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("refusal", ["401 Unauthorized", "403 Forbidden", "410 Gone"])
def test_a_redirect_that_expires_while_it_runs(refusal: str, file: Path, tmp_path: Path) -> None:
    with OriginProcess(file, RATE) as origin:
        origin.set(target=origin.url("signed", "1"), refusal=refusal)
        with start_get(tmp_path, origin.url("redirect"), "-o", "x.bin") as process:
            origin.wait_until_sent(1024 * 1024)
            origin.set(target=origin.url("signed", "2"))
            assert process.wait() == 0, process.log
        paths = [hit["path"] for hit in origin.hits()]
        assert paths[:2] == ["/redirect/x.bin", "/signed/1"]
        assert "/signed/2" in paths
        assert paths.count("/redirect/x.bin") < len(paths) / 2, "it is not asked for each part"
    assert (tmp_path / "x.bin").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("changed", [False, True])
def test_a_server_that_names_no_version_is_compared_with_what_is_there(
    changed: bool, file: Path, tmp_path: Path
) -> None:
    with OriginProcess(file, RATE) as origin:
        origin.set(etag="", last_modified="")
        with start_get(tmp_path, origin.url("turning"), "-o", "x.bin") as process:
            origin.wait_until_sent(LENGTH // 3)
            os.kill(process.pid, signal.SIGINT)
            assert process.wait() == 7
        origin.set(target="another" if changed else "", rate="")
        result = get(tmp_path, origin.url("turning"), "-o", "x.bin")
    if changed:
        assert result.returncode == 8, result.stderr
        assert "are others than an earlier run got; --fresh begins anew" in result.stderr
        assert not (tmp_path / "x.bin").exists()
    else:
        assert result.returncode == 0, result.stderr
        assert "are there from an earlier run" in result.stderr
        assert (tmp_path / "x.bin").read_bytes() == file.read_bytes()


def test_a_server_that_drops_the_range_of_every_condition(file: Path, tmp_path: Path) -> None:
    with OriginProcess(file, RATE) as origin:
        result = get(tmp_path, origin.url("no-if-range"), "-o", "x.bin")
        assert result.returncode == 0, result.stderr
        asked = [hit for hit in origin.hits() if "if-range" in hit["fields"]]
        assert 1 <= len(asked) <= 4, "once on each connection that was under way"
    assert (tmp_path / "x.bin").read_bytes() == file.read_bytes()
