"""Resources, stores and sessions that the tests of the wire share."""

from collections.abc import Sequence
from random import Random

from p2sp.resource.descriptor import Descriptor, FileEntry, make_descriptor
from p2sp.resource.layout import Layout
from p2sp.resource.merkle import FileHasher
from p2sp.resource.verification import described
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from p2sp.wire.codec import encode
from p2sp.wire.messages import Message
from p2sp.wire.session import Event, Session

PIECE = 64 * 1024
HASH = b"h" * 20
ALICE = b"-PS0100-alicealice.."
BOB = b"-PS0100-bobbobbobbob"


def make_resource(lengths: Sequence[int], piece_length: int = PIECE, seed: int = 1) -> tuple[Descriptor, bytes]:
    """A descriptor of files of these lengths, and their bytes one after another."""
    rng = Random(seed)
    files = []
    whole = b""
    for number, length in enumerate(lengths):
        data = rng.randbytes(length)
        hasher = FileHasher(piece_length)
        hasher.update(data)
        root, layer = hasher.finish()
        path = ("data",) if len(lengths) == 1 else (f"file{number}",)
        files.append((FileEntry(path, length, root), layer))
        whole += data
    return make_descriptor("data", files, piece_length), whole


def empty_store(descriptor: Descriptor) -> MemoryStore:
    """A store with nothing in it, whose jobs run at once."""
    return MemoryStore(described(descriptor), InlinePool())


def fill(store: MemoryStore, data: bytes, pieces: Sequence[int] | None = None) -> None:
    """Put pieces (all of them by default) into a store, out of the bytes of all files."""
    layout = store.content.layout
    at = 0
    for piece in range(layout.piece_count):
        size = layout.piece_size(piece)
        if pieces is None or piece in pieces:
            store.write(layout.piece_start(piece), [data[at : at + size]], "test")
        at += size


def full_store(descriptor: Descriptor, data: bytes) -> MemoryStore:
    """A store with everything in it."""
    store = empty_store(descriptor)
    fill(store, data)
    assert store.complete
    return store


def contents(store: MemoryStore) -> bytes:
    """The bytes of all files of a complete store, one after another."""
    layout = store.content.layout
    parts: list[bytes] = []
    for file, length in enumerate(layout.lengths):
        if length:
            store.read(layout.file_start(file), length).addCallback(parts.append)
    return b"".join(parts)


def take(session: Session) -> bytes:
    """What a session wants to send, as one."""
    return b"".join(session.take_outgoing())


def exchange(one: Session, other: Session) -> tuple[list[Event], list[Event]]:
    """Carry bytes both ways until nobody has any more to say; what each of them heard."""
    heard_by_one: list[Event] = []
    heard_by_other: list[Event] = []
    while True:
        from_one, from_other = take(one), take(other)
        if not from_one and not from_other:
            return heard_by_one, heard_by_other
        heard_by_other += other.receive(from_one)
        heard_by_one += one.receive(from_other)


def pair(
    layout: Layout | None,
    one_has: Sequence[int] = (),
    other_has: Sequence[int] = (),
    *,
    metadata_size: int | None = None,
    host: str = "",
) -> tuple[Session, Session]:
    """Two sessions that have joined and unchoked each other; at a `host` pieces are allowed to who is choked."""
    one, other = Session(), Session()
    one.open(HASH, ALICE, layout=layout, have=one_has, metadata_size=metadata_size, host=host)
    other.open(HASH, BOB, layout=layout, have=other_has, metadata_size=metadata_size, host=host)
    exchange(one, other)
    one.unchoke()
    other.unchoke()
    exchange(one, other)
    return one, other


def said(session: Session, message: Message) -> list[Event]:
    """What a session makes of a message of the other side."""
    return list(session.receive(b"".join(encode(message))))
