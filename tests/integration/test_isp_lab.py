"""Does the ISP lab race downloads in namespaces, count what crosses its links, and leave nothing behind?

Where no network namespaces can be made (no root and no user namespaces, or a kernel without them) the tests fail and
say why. Whoever knows that of a machine sets P2SP_NO_NAMESPACES=1; then what the lab says there is all that is tested.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import Process, run_once
from tests.integration.servers import until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
LAB = [sys.executable, "-m", "benchmarks.isp_lab"]
CANNOT = bool(os.environ.get("P2SP_NO_NAMESPACES"))
HOSTS = 2
ISPS = ("isp1", "isp2")


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and those that these have."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            # It has ended meanwhile.
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def test_this_machine_can_or_says_why_not(tmp_path: Path) -> None:
    """The one test that is for every machine."""
    said = run_once([*LAB, "check"], ROOT)
    told = said.stdout + said.stderr
    if CANNOT:
        assert said.returncode in (0, 77), told
    else:
        assert said.returncode == 0, (
            f"{told}\nThe ISP lab cannot run here, so what it proves is not proven. If this machine cannot be helped, "
            "set P2SP_NO_NAMESPACES=1."
        )
    assert told.startswith("isp_lab: "), told


if not CANNOT:

    def test_a_small_internet(tmp_path: Path) -> None:
        """Two ISPs of two hosts: all get the file, nobody beats physics, and links carried what was downloaded."""
        account = tmp_path / "account.json"
        size = ["--isps", "2", "--hosts", str(HOSTS), "--size", "3"]
        only = ["--only", "p2sp fast", "--only", "libtorrent", "--only", "curl"]
        ran = run_once([*LAB, "flash", *size, *only, "--json", str(account)], ROOT, timeout=120)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stdout + ran.stderr
        results: list[dict[str, Any]] = json.loads(account.read_text())
        assert [result["name"] for result in results] == ["p2sp fast", "libtorrent", "curl"]
        for result in results:
            assert all(course["right"] for course in result["courses"])
            assert len(result["courses"]) == len(ISPS) * HOSTS
            assert result["ratio"] >= 0.95, "faster than the links"
            assert result["origin_copies"] >= 0.99
            assert all(result["imported_copies"][isp] >= 0.99 for isp in ISPS)
        ours, _, curl = results
        # Every byte of plain HTTP comes from the origin through one link.
        assert curl["origin_copies"] == pytest.approx(len(ISPS) * HOSTS, rel=0.1)
        assert all(curl["imported_copies"][isp] == pytest.approx(HOSTS, rel=0.1) for isp in ISPS)
        # What our clients say that they had from the server has left it; more has that was cut short on its way.
        told = sum(course["account"]["bytes_by_kind"]["server"] for course in ours["courses"])
        assert 0.99 <= told / ours["size"] <= ours["origin_copies"] * 1.01
        assert sum(course["account"]["bytes_by_kind"]["peer"] for course in ours["courses"]) > 0

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_nothing_is_left_of_one_that_is_killed(tmp_path: Path, number: signal.Signals) -> None:
        """Services, clients, nginx and namespaces go with it."""
        logs = tmp_path / "logs"
        with Process([*LAB, "flash", "--hosts", "1", "--only", "fast", "--logs", str(logs)], ROOT) as lab:
            until(lambda: len(list(logs.glob("*/services.log"))) == 1, "its services start")
            # unshare, the lab inside, nginx, the services at least
            until(lambda: len(descendants(lab.pid)) >= 4, "all of it runs")
            started = descendants(lab.pid)
            os.kill(lab.pid, number)
            assert lab.wait() != 0
            until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in started), "all have ended")

    def test_what_cannot_be_run_is_told_in_a_line() -> None:
        said = run_once([*LAB, "flash", "--isps", "1000"], ROOT)
        assert said.returncode == 2
        assert said.stderr.strip() == "isp_lab: 1 to 100 ISPs of 1 to 240 hosts each, not 1000 of 8"
