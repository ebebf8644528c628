"""Does a command load only what it uses, so that starting it costs little?"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.origin import noise
from tests.integration.processes import run_once
from tests.integration.servers import PythonServer

pytestmark = pytest.mark.integration

NETWORK = [
    "p2sp.download.announcing",
    "p2sp.download.finder",
    "p2sp.index.client",
    "p2sp.net.api_client",
    "p2sp.sources.peer",
    "p2sp.tracker.client",
    "p2sp.wire.link",
    "p2sp.wire.listener",
    "p2sp.wire.session",
]
"""For whom there are peers, trackers or an index."""

TRUST = ["p2sp.cli.site_file", "p2sp.net.authority", "p2sp.net.identity", "p2sp.net.trust", "tomllib"]
"""For https, and for a network of one's own."""

OTHERS = [
    "defusedxml",
    "p2sp.cli.demo",
    "p2sp.cli.publish",
    "p2sp.cli.show",
    "p2sp.ops.service",
    "p2sp.resource.metalink_xml",
    "p2sp.site.init",
    "p2sp.supernode.keeper",
    "rich",
    "sqlalchemy",
    "xml",
]
"""For other commands and other targets."""


def account(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """What a run of `p2sp` with these arguments loaded."""
    told = tmp_path / "account.json"
    child = Path(__file__).with_name("modules_child.py")
    result = run_once([sys.executable, str(child), str(told), *arguments], tmp_path)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def test_the_names_are_of_modules() -> None:
    assert [name for name in (*NETWORK, *TRUST, *OTHERS) if find_spec(name) is None] == []


def test_a_file_by_http_needs_no_network_of_ours_and_no_keys(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    (root / "x.bin").write_bytes(noise(10_000, 1))
    with PythonServer(root) as server:
        told = account(tmp_path, "get", f"{server.url}/x.bin", "-o", str(out), "--progress", "none")
    assert out.read_bytes() == noise(10_000, 1)
    assert sorted({*NETWORK, *TRUST, *OTHERS} & set(told["modules"])) == []
    # While it imports it does not collect, while it works it does, and never what it imported.
    assert told["collects"]
    assert told["frozen"] > 10_000


def test_help_needs_no_twisted(tmp_path: Path) -> None:
    told = account(tmp_path, "get", "--help")
    assert {"twisted", "attrs", *NETWORK, *TRUST, *OTHERS} & set(told["modules"]) == set()
