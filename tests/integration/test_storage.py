"""Do downloads on disk stand their ground against other processes, sudden death and a full disk?"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from p2sp.storage.interfaces import Locked
from tests.integration.storage_crash_child import SAMPLE as LARGE
from tests.storage.kit import Kit, assert_true_marks, now

pytestmark = pytest.mark.integration

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


CHILD = """
import sys
from pathlib import Path
from twisted.internet.task import Clock
from twisted.internet.defer import Deferred
from p2sp.storage.disk import open_store
from p2sp.storage.pool import InlinePool
from tests.storage.kit import SAMPLE
opening = Deferred.fromCoroutine(open_store(Path(sys.argv[1]), SAMPLE.content, InlinePool(), Clock()))
opening.addCallbacks(lambda store: print("open", flush=True), lambda failure: print(failure.type.__name__, flush=True))
sys.stdin.read()
"""


def test_a_writer_in_another_process(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    command = [sys.executable, "-c", CHILD, str(kit.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            with pytest.raises(Locked):
                kit.open()
        finally:
            child.kill()
    store = kit.open()
    answer = subprocess.run(command, input="", capture_output=True, env=ENVIRONMENT, text=True)
    assert answer.stdout == "Locked\n"
    now(store.close())


def test_kill_at_any_instant(tmp_path: Path) -> None:
    """Twenty-four runs of one download in a process of its own, each killed at a moment of its own."""
    rng = Random(20_240_607)
    kit = Kit(tmp_path)
    kept: list[int] = []
    for round_number in range(24):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.storage_crash_child", str(kit.path), str(round_number)],
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
        )
        with child:
            try:
                assert child.stdout is not None
                opened = child.stdout.readline().split()
                assert opened == ["open", str(kept[-1] if kept else 0)], "a run goes on from what the last one left"
                # Any moment will do, and none is right or wrong: what is asserted holds at every one.
                time.sleep(rng.random() * 0.12)
            finally:
                child.kill()
        store = kit.open(LARGE.content)
        assert_true_marks(store, LARGE)
        kept.append(store.pieces_verified)
        kit.crash(store)
    assert any(kept), "runs that keep nothing prove nothing"


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """On a small file system of its own where the machine lets us mount one, else with writes that fail as on one."""
    child = [sys.executable, "-m", "tests.integration.storage_full_child", str(tmp_path)]
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    alone = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") and not subprocess.run([*alone, *mount], capture_output=True).returncode:
        command = [*alone, "sh", "-c", shlex.join(mount) + " && exec " + shlex.join([*child, "mounted"])]
    else:
        command = [*child, "injected"]
    answer = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert (answer.stdout, answer.stderr) == ("kept 8 of 13 pieces, then finished\n", "")
