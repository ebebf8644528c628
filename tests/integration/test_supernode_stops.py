"""Does a super node that is told to stop leave in order: manager, trackers, readers?"""

import json
from pathlib import Path

import attrs
import pytest

from p2sp.site.layout import MAP
from tests.integration.lab import MIB, NORTH, Lab, digest_of, make_file, until
from tests.integration.processes import Process
from tests.integration.servers import OriginProcess, program

pytestmark = pytest.mark.integration

CACHE = "supernode"
SIZE = 2 * MIB
RATE = "1MB/s"
WITHIN = 30.0


def test_it_says_that_it_goes_and_serves_to_the_end(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        statistics = lab.add("statistics", interval=1)
        lab.add_core(statistics=statistics.url)
        lab.add("manager", statistics=statistics.url, network_map=MAP, heartbeat_interval=0.5)
        cache = lab.add_node(CACHE, CACHE, NORTH + "3", manager=lab.url("manager"), capacity=4 * SIZE)
        settings = {"public_url": cache.url, "allow_targets": ["127.0.0.0/8"], "read_through": True}
        rates = {"max_upload": RATE, "max_fill": RATE}
        lab.rewrite(attrs.evolve(cache, settings={**cache.settings, **settings, **rates}))
        lab.start()
        file = make_file(tmp_path / "file.bin", SIZE)
        with OriginProcess(file.path) as origin:
            resource = lab.publish(file.path, "--mirror", origin.url("honest"))
            url = f"{cache.url}/r/{resource}/{file.path.name}"
            command = [program("curl"), "-sS", "--fail", "--max-time", "30", "--retry", "9", "--cacert"]
            command += [str(tmp_path / "pki" / "ca.pem"), "-o"]
            with Process([*command, str(tmp_path / "first"), url], tmp_path) as first:
                assert first.wait(WITHIN) == 0, first.log
        until(lambda: lab.entries() == 1, WITHIN, "the super node announces what it has")
        (node,) = json.loads(lab.call("manager", "/v1/nodes"))["nodes"]
        assert not node["draining"]
        target = tmp_path / "second"
        with Process([*command, str(target), url], tmp_path) as second:
            until(lambda: target.exists() and target.stat().st_size > 0, WITHIN, "the first bytes come")
            lab.stop(CACHE)
            assert second.wait(WITHIN) == 0, second.log
        assert digest_of(target) == file.sha256
        (node,) = json.loads(lab.call("manager", "/v1/nodes"))["nodes"]
        assert node["draining"]
        assert lab.entries() == 0
        lab.start(CACHE)

        def is_back() -> bool:
            (node,) = json.loads(lab.call("manager", "/v1/nodes"))["nodes"]
            return not node["draining"] and lab.entries() == 1

        until(is_back, WITHIN, "it takes part again, and has what it had")
