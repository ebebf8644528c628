"""Do many downloads of one file feed each other, in virtual time?"""

import pytest

from p2sp.schedule.spans import Mode
from tests.simulation.harness import MIB, PIECE
from tests.simulation.swarm import Swarm
from tests.storage.kit import noise, sample_file

SAMPLE = sample_file(noise(8 * MIB), piece_length=PIECE)
LENGTH = 8 * MIB
COUNT = 20
UPLOAD = 1e6
SERVER = 5e6
BOUND = COUNT * LENGTH / (SERVER + COUNT * UPLOAD)
"""Seconds in which the server and all uplinks could bring everything to everybody, were nothing ever idle."""


@pytest.mark.parametrize(("mode", "seed"), [(Mode.FAST, 1), (Mode.OFFLOAD, 2)])
def test_everybody_ends_and_the_server_gives_little(mode: Mode, seed: int) -> None:
    swarm = Swarm(SAMPLE, COUNT, upload=UPLOAD, server=SERVER, neighbours=3, seed=seed, mode=mode)
    took = swarm.run(120.0)
    assert all(node.store.complete for node in swarm.nodes)
    assert took <= BOUND * 1.75, f"{took / BOUND:.2f} times the bound (seed {seed})"
    for node in swarm.nodes:
        kinds = node.report.by_kind()
        assert kinds["server"] + kinds["peer"] == node.report.received >= LENGTH
        assert kinds["supernode"] == 0
    for kind, sent in (("server", swarm.server.sent), ("peer", sum(node.sent for node in swarm.nodes))):
        told = sum(node.report.by_kind()[kind] for node in swarm.nodes)
        # What was on its way, less than a block, when a fetch was given up is in nobody's account.
        assert 0 <= sent - told <= sent * 0.05
    assert swarm.server.sent <= COUNT * LENGTH * 0.35, f"{swarm.server.sent / LENGTH:.1f} copies (seed {seed})"
