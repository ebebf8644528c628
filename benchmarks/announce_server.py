"""A tracker as `twistd` runs it, with so many peers in its swarms from the start; for `announces.py`.

    python benchmarks/announce_server.py CONFIG PEERS SWARMS

Says `bytes a peer: N` and then what the role itself says of its ports.
"""

import gc
import os
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from p2sp.ops.config import load_config
from p2sp.tracker.config import TrackerConfig
from p2sp.tracker.entry import Entry
from p2sp.tracker.memory import MemorySwarmStore
from p2sp.tracker.service import make_service

LENGTH = 4_000_000_000


def resident() -> int:
    """Bytes of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def entry(number: int, swarms: int, now: float, *, again: bool) -> Entry:
    """A peer of its own address, as an announce makes it: no string or number in it is anybody else's."""
    host = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    left = LENGTH - number * (1 if again else 2)
    return Entry(
        f"{number % swarms:040x}",
        f"{number:064x}",
        f"{number:032x}",
        host,
        6881,
        f"isp-{number % 50}",
        left,
        LENGTH,
        now,
    )


def main() -> None:
    """Fill and run."""
    config_path, peers, swarms = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    role = make_service(load_config(config_path, TrackerConfig), config_path, reactor)  # type: ignore[arg-type]
    [store] = [each for each in gc.get_objects() if isinstance(each, MemorySwarmStore)]
    before = resident()
    # Twice: what stays of the first announce when the second comes counts.
    for again in (False, True):
        for number in range(peers):
            store.announce(entry(number, swarms, reactor.seconds(), again=again))  # type: ignore[attr-defined]
    gc.collect()
    if peers:
        print(f"bytes a peer: {(resident() - before) // peers}", flush=True)
    role.privilegedStartService()
    role.startService()
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
