"""What does a peer do that claims to have everything and gives out wrong bytes, or none?

Run as `python -m tests.integration.liar HOW TORRENT FILE TRACKER AUTHORITY HOST`, HOW being `wrong` or `nothing`; says
`lying at PORT` once it has told the tracker.
"""

import sys
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import react

from p2sp.download.node import Node
from p2sp.download.transfer import Transfer
from p2sp.net.identity import create_identity
from p2sp.net.trust import Trust
from p2sp.resource.descriptor import parse_torrent
from p2sp.resource.verification import described
from p2sp.storage.disk import open_complete
from p2sp.storage.interfaces import StorageError


def nothing(position: int, length: int) -> "Deferred[bytes]":
    """A disk that reads nothing."""
    return fail(StorageError("nothing is given out"))


async def lie(reactor: Any, how: str, torrent: str, file: str, tracker: str, authority: str, host: str) -> None:
    """Seed FILE as if it were what TORRENT describes."""
    trust = Trust.from_file(Path(authority))
    node = Node(
        reactor, create_identity(), rng=Random(1), trust=trust, trackers=[tracker], address=host, listen=(host, 0)
    )
    content = described(parse_torrent(Path(torrent).read_bytes()).descriptor)
    node.start()
    store = await open_complete(Path(file), content, node.pool, reactor, trust=True)
    if how == "nothing":
        setattr(store, "read", nothing)  # noqa: B010 - the one thing that is different
    transfer = Transfer(node, content=content, store=store)
    transfer.start()
    print(f"lying at {node.port}", flush=True)  # noqa: T201 - what the test waits for
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor, *arguments: Deferred.fromCoroutine(lie(reactor, *arguments)), sys.argv[1:])
