"""What must a store of pieces promise?"""

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from p2sp.resource.verification import Content


class StorageError(Exception):
    """The store cannot do what was asked; the text is fit for a user."""


class NoSpace(StorageError):
    """The disk is full (ENOSPC, EDQUOT). No source is to blame; what was verified stays."""


class Locked(StorageError):
    """Another process writes this download."""


class AlreadyExists(StorageError):
    """The finished file is there already."""


class Changed(StorageError):
    """What an earlier run left behind belongs to another version of the resource."""


@attrs.frozen
class Verdict:
    """What became of a piece whose last block was written.

    `suspects`: the sources that gave at least one block of a piece that failed, or, when `good`, those shown to have
    given other bytes for this piece in an earlier attempt that failed.
    """

    piece: int
    good: bool
    suspects: frozenset[str]


@attrs.frozen
class Examined:
    """What the right leaf hashes of a piece that failed have told.

    `bad` are the runs of positions (start, stop) that are to be had anew, `guilty` the sources that gave them. The rest
    of the piece is kept.
    """

    bad: tuple[tuple[int, int], ...]
    guilty: frozenset[str]


class IPieceStore(Interface):
    """The bytes of one resource: written by a download, read by uploads, at the same time.

    Positions are those of `p2sp.resource.layout.Layout`. Blocks are hashed and written off the reactor's thread, in
    one pool per process; methods are called on the reactor's thread.
    """

    content: Content = Attribute("What is kept.")
    complete: bool = Attribute("Whether every piece that is wanted is verified.")
    bytes_verified: int = Attribute("Bytes of the verified pieces.")

    def verified() -> Sequence[bool]:
        """Per piece, whether it is whole and good. A live view: never copied, never to be changed."""

    def has(piece: int) -> bool:
        """Whether that piece may be read."""

    def write(position: int, data: Sequence[bytes | memoryview], source: str) -> "Deferred[list[Verdict]]":
        """Take whole blocks from a block's boundary on; only the last block of a file may be short.

        `data` is a run of buffers, not joined by the caller; it must not leave a piece. `source` names who gave them.
        A block already written in this attempt at its piece, or of a piece that is verified, is dropped. Fires with the
        verdicts of pieces that this write filled: a good piece is verified, on disk and readable when it fires; a bad
        one is free again. Fails with NoSpace or StorageError; then nothing of this write counts.
        """

    def examine(piece: int, leaves: Sequence[bytes]) -> Examined | None:
        """Take the leaf hashes that a piece which failed should have had: only what differs is to be had anew.

        None, and nothing is changed, when they are not that piece's, or when it was written to since it failed.
        """

    def leaves(piece: int) -> "Deferred[tuple[bytes, ...]]":
        """The leaf hashes of a verified piece (BEP 52). Fails with StorageError for any other."""

    def disown(source: str) -> "Deferred[list[tuple[int, int]]]":
        """Believe nothing that this source gave for pieces not yet judged.

        Fires with the runs of positions (start, stop) that are free again, once none of its bytes that were under way
        can land any more; what it gives later counts as usual. Pieces for which nothing lacks are judged all the same.
        """

    def read(position: int, length: int) -> "Deferred[bytes]":
        """Bytes of verified pieces of one file. Fails with StorageError for anything else."""

    def at_hand(position: int, length: int) -> bytes | None:
        """The same bytes at once if they lie in memory anyway; None when they are to be `read`, for whatever reason."""

    def on_verified(callback: Callable[[int], None]) -> Callable[[], None]:
        """Call back with each piece that becomes verified from now on; the answer stops it."""

    def on_forgotten(callback: Callable[[int], None]) -> Callable[[], None]:
        """Call back with each piece that was verified and is let go; the answer stops it."""

    def forget(piece: int) -> None:
        """Let a verified piece go (a cache that evicts, a source that turned out wrong)."""

    def digest(algorithm: str) -> "Deferred[bytes]":
        """Digest of the whole file of a complete single-file store, by a hashlib name."""

    def finish() -> "Deferred[str]":
        """Make the complete resource visible under its own name, durably; fires with its path.

        The store stays readable. Fails with AlreadyExists when something took the name meanwhile.
        """

    def close() -> "Deferred[None]":
        """Write the journal, release files and the lock. What is verified can be taken up again."""


@attrs.define
class Validators:
    """What a resource server said of its version, kept in the journal of content without hashes (RFC 9110, 8.8)."""

    url: str = ""
    etag: str = ""
    last_modified: str = ""
