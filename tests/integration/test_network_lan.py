"""Do peers of one network feed `p2sp get` while no tracker answers?"""

from pathlib import Path

import pytest

from tests.integration.lab import MIB, SOUTH, Lab, make_file

pytestmark = pytest.mark.integration


def test_a_peer_is_found_without_a_tracker(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        file = make_file(lab.folder / "files" / "some.bin", 2 * MIB + 12345, seed=77)
        lab.add_core()
        lab.add_node("peer", "peer", SOUTH + "5", folder="seed", scan_interval=0.5, lan=True)
        lab.start()
        resource = lab.publish(file.path)
        lab.seed("seed", resource, file.path)
        lab.running["peer"].wait_for("seeding some.bin")
        lab.kill("tracker")
        download = lab.get(resource, "--lan", address=SOUTH + "6").is_right(file)
        assert download.by_kind == {"server": 0, "supernode": 0, "peer": file.path.stat().st_size}
