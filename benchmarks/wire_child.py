"""What does one process of the wire benchmark do: seed, fetch, or hold idle connections, ours or libtorrent's?

wire_child.py seed TORRENT FILE [--clear]             says `HOST:PORT:NODE_ID` when it serves
wire_child.py get TORRENT FILE PEER... [--clear]      says seconds, CPU seconds and peak MiB, as JSON, when it is done
wire_child.py idle TORRENT PEER --count N             says `idle` when so many links are up, and holds them
wire_child.py lt-seed TORRENT FILE                    the same by libtorrent
wire_child.py lt-get TORRENT FILE PEER...
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

HOST = "127.0.0.1"


def say(text: str) -> None:
    """Tell the benchmark."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Meter:
    """Measures from its making."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def done(self) -> None:
        """Say what was measured."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(json.dumps({"seconds": wall, "cpu": cpu, "peak": peak}))


async def ours(reactor: Any, given: argparse.Namespace) -> None:
    """Seed or fetch with our own engine: node, transfer, a store on disk."""
    from twisted.internet.defer import Deferred

    from p2sp.download.node import Node
    from p2sp.download.transfer import Transfer
    from p2sp.net.identity import create_identity
    from p2sp.resource.descriptor import parse_torrent
    from p2sp.resource.verification import described
    from p2sp.schedule.spans import Kind
    from p2sp.sources.interfaces import Candidate
    from p2sp.storage.disk import open_complete, open_store

    identity = create_identity()
    node = Node(reactor, identity, rng=Random(1), address=HOST, listen=(HOST, 0), clear_text=given.clear)
    content = described(parse_torrent(given.torrent.read_bytes()).descriptor)
    node.start()
    if given.what == "seed":
        full = await open_complete(Path(given.rest[0]), content, node.pool, reactor, trust=True)
        Transfer(node, content=content, store=full).start()
        say(f"{HOST}:{node.port}:{'' if given.clear else identity.node_id}")
        await Deferred()
    store = await open_store(Path(given.rest[0]), content, node.pool, reactor)
    transfer = Transfer(node, content=content, store=store)
    meter = Meter()
    transfer.start()
    for peer in given.rest[1:]:
        host, port, node_id = peer.split(":")
        transfer.offer(Candidate(Kind.PEER, node_id, host, int(port)))
    while not transfer.links:
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0.005, waiting.callback, None)
        await waiting
    await transfer.download()
    meter.done()
    await transfer.stop()
    await store.finish()
    await store.close()
    await node.stop()


async def idle(reactor: Any, given: argparse.Namespace) -> None:
    """Many nodes with a link each that do nothing."""
    from twisted.internet.defer import Deferred

    from p2sp.download.node import Node
    from p2sp.download.transfer import Transfer
    from p2sp.net.identity import create_identity
    from p2sp.resource.descriptor import parse_torrent
    from p2sp.resource.verification import described
    from p2sp.storage.memory import MemoryStore

    content = described(parse_torrent(given.torrent.read_bytes()).descriptor)
    host, port, node_id = given.rest[0].split(":")
    held = []
    for number in range(given.count):
        # One address takes no more than a few.
        address = f"127.0.1.{1 + number % 250}"
        node = Node(reactor, create_identity(), rng=Random(number), address=address)
        transfer = Transfer(node, content=content, store=MemoryStore(content, node.pool))
        node.wire.share(transfer)
        held.append(await node.wire.dial(transfer, host, int(port), node_id, bind_address=address))
    say("idle")
    await Deferred()


def foreign(given: argparse.Namespace) -> None:
    """Seed or fetch with libtorrent, over TCP in clear text, with its settings for speed where it names some."""
    import libtorrent

    settings: Any = libtorrent.high_performance_seed() if given.what == "lt-seed" else libtorrent.default_settings()
    settings |= {
        "listen_interfaces": f"{HOST}:0",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "allow_multiple_connections_per_ip": True,
        "in_enc_policy": 2,
        "out_enc_policy": 2,
        "alert_mask": 0,
        "unchoke_interval": 1,
    }
    session = libtorrent.session(settings)
    params: Any = libtorrent.load_torrent_file(str(given.torrent))
    params.save_path = str(Path(given.rest[0]).parent)
    params.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    if given.what == "lt-seed":
        params.flags |= libtorrent.torrent_flags.seed_mode
    handle = session.add_torrent(params)
    while (status := handle.status()).state in (status.checking_files, status.checking_resume_data):
        time.sleep(0.01)
    meter = Meter()
    if given.what == "lt-seed":
        say(f"{HOST}:{session.listen_port()}:")
        while True:
            time.sleep(3600)
    for peer in given.rest[1:]:
        host, port, _ = peer.split(":")
        handle.connect_peer((host, int(port)))
    while not handle.status().is_seeding:
        time.sleep(0.01)
    meter.done()


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["seed", "get", "idle", "lt-seed", "lt-get"])
    parser.add_argument("torrent", type=Path)
    parser.add_argument("rest", nargs="+")
    parser.add_argument("--clear", action="store_true")
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    if given.what.startswith("lt-"):
        foreign(given)
        return
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    work = idle if given.what == "idle" else ours
    react(lambda reactor: Deferred.fromCoroutine(work(reactor, given)), [])


if __name__ == "__main__":
    main()
