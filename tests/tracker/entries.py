"""What do the tests of the tracker announce?"""

from p2sp.tracker.entry import Entry, Speech
from p2sp.tracker.schema import AnnounceRequest, Counters, Event

RESOURCE = "ab" * 32
SESSION = "5e" * 16
MIB = 1024 * 1024


def node_name(number: int) -> str:
    """A node id that is easy to tell from others."""
    return f"{number:064x}"


def entry(
    number: int,
    *,
    resource: str = RESOURCE,
    session: str = SESSION,
    host: str = "192.0.2.1",
    port: int = 7000,
    isp: str | None = "here",
    left: int = MIB,
    length: int = 2 * MIB,
    seen: float = 0.0,
    supernode: bool = False,
    speech: Speech = Speech.TLS,
) -> Entry:
    """Node `number`, half done, in the ISP `here` unless told otherwise."""
    return Entry(resource, node_name(number), session, host, port, isp, left, length, seen, supernode, speech)


def request(
    *,
    resource: str = RESOURCE,
    session: str = SESSION,
    event: Event = Event.PROGRESS,
    port: int = 7000,
    left: int = MIB,
    length: int = 2 * MIB,
    server: int = 0,
    home: bool = True,
    wanted: int = 50,
    clear: bool = False,
    v1: str | None = None,
) -> AnnounceRequest:
    """The announce of a node that is half done unless told otherwise."""
    return AnnounceRequest(
        resource=resource,
        session=session,
        event=event,
        port=port,
        length=length,
        left=left,
        counters=Counters(server=server),
        home=home,
        wanted=wanted,
        clear=clear,
        v1=v1,
    )
