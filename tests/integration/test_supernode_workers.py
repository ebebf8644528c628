"""Do several processes of a super node serve one port as if they were one?"""

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import attrs
import pytest

from tests.integration.lab import MIB, NORTH, Lab, digest_of, make_file, steady_port, until
from tests.integration.processes import Process
from tests.integration.servers import OriginProcess, program

pytestmark = pytest.mark.integration

CACHE = "supernode"
SIZE = MIB + 54321
CLIENTS = 8
WITHIN = 30.0


def children(pid: int) -> list[int]:
    """The processes that another one started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


def test_two_processes_one_cache(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab, ExitStack() as stack:
        lab.add_core()
        cache = lab.add_node("supernode", CACHE, NORTH + "3", manager="https://127.0.0.1:1", capacity=20 * SIZE)
        settings = {"public_url": cache.url, "allow_targets": ["127.0.0.0/8"], "read_through": True, "workers": 2}
        metrics = f"127.0.0.1:{steady_port('127.0.0.1')}"
        settings["metrics"] = metrics
        lab.rewrite(attrs.evolve(cache, settings={**cache.settings, **settings}))
        lab.start()
        running = lab.running[CACHE]
        running.wait_until_listening(2)
        file = make_file(tmp_path / "file.bin", SIZE)
        origin = stack.enter_context(OriginProcess(file.path, 600_000))
        resource = lab.publish(file.path, "--mirror", origin.url("honest"))
        path = f"/r/{resource}/{file.path.name}"

        def all_get_it() -> None:
            """The system spreads connections: of so many some go to each process, but for one time in a thousand."""
            targets = [tmp_path / f"got{number}" for number in range(CLIENTS)]
            command = [program("curl"), "-sS", "--fail", "--max-time", "30", "--retry", "9"]
            command += ["--cacert", str(tmp_path / "pki" / "ca.pem")]
            with ExitStack() as clients:
                started = [
                    clients.enter_context(Process([*command, "-o", str(each), f"{cache.url}{path}"], tmp_path))
                    for each in targets
                ]
                for each, target in zip(started, targets, strict=True):
                    assert each.wait(WITHIN) == 0, each.log
                    assert digest_of(target) == file.sha256

        # While it is fetched all of them give it; and it is fetched once.
        all_get_it()
        assert origin.sent() < 2 * SIZE
        until(lambda: (tmp_path / "state" / CACHE / "cache" / resource / "data").exists(), WITHIN, "it is whole")
        all_get_it()
        assert {lab.status(CACHE, path) for _ in range(CLIENTS)} == {200}
        assert {lab.status(CACHE, f"/r/{'0' * 64}/x") for _ in range(CLIENTS)} == {404}

        def tells(metric: str) -> float | None:
            """What the owner says for all of them; None when it does not."""
            with urlopen(f"http://{metrics}/metrics", timeout=WITHIN) as answer:
                lines = [line.rpartition(" ") for line in answer.read().decode().splitlines()]
            return next((float(value) for name, _, value in lines if name == f"p2sp_supernode_{metric}"), None)

        def adds_up(times: int) -> bool:
            return tells("served_bytes_total") == times * CLIENTS * SIZE

        until(lambda: adds_up(2), WITHIN, "what the other process gave is counted")
        assert tells('answers_total{status="404"}') == CLIENTS
        (other,) = children(running.pid)
        os.kill(other, signal.SIGKILL)
        # Who is left goes on, and has all that was there.
        until(lambda: not lives(other), WITHIN, "its socket is gone, too")
        all_get_it()
        assert tells('resources{state="whole"}') == 1
        running.wait_for("(?s)worker . ended; it is started again.*listening on")
        until(lambda: tells('connections{process="1"}') is not None, WITHIN, "another one is there")
        all_get_it()
        until(lambda: adds_up(4), WITHIN, "what the new one gave is counted, too")
        (other,) = children(running.pid)
        lab.stop(CACHE)
        assert not lives(other)
