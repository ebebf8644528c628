"""What does a download remember of itself between two runs?"""

import os
from hashlib import sha256
from pathlib import Path

import msgspec
from twisted.logger import Logger

from p2sp.resource.verification import Content, Verified
from p2sp.storage.files import storage_error, sync_folder, told_as_storage_error
from p2sp.storage.interfaces import Changed, Validators

_MAGIC = b"p2sp journal 1\n"
_HEADER = len(_MAGIC) + sha256().digest_size
_FORMAT = 1
MAX_JOURNAL = 2 * 1024 * 1024
"""Bytes of the largest journal that is read: a bitfield of 2**22 pieces takes a quarter of it."""

MAX_RECENT = 4096
"""Pieces that are checked anew after a crash, at the most."""

_log = Logger()


class State(msgspec.Struct, frozen=True, array_like=True):
    """What a journal says: which content, which pieces of it, which of these are young, which version it was."""

    format: int
    key: str
    name: str
    length: int
    piece_length: int
    bits: bytes
    recent: tuple[int, ...] = ()
    url: str = ""
    etag: str = ""
    last_modified: str = ""

    @property
    def empty(self) -> bool:
        """Whether no piece is marked."""
        return not any(self.bits)

    def marked(self) -> list[int]:
        """The pieces that are marked, in order."""
        return [at for at in range(len(self.bits) * 8) if self.bits[at >> 3] & 0x80 >> (at & 7)]

    def fits(self, pieces: int) -> bool:
        """Whether the bitfield is one of so many pieces."""
        return len(self.bits) == -(-pieces // 8) and self.marked()[-1:] < [pieces]


def state_of(content: Content, bits: bytes, recent: tuple[int, ...], validators: Validators) -> State:
    """The state to write for a content."""
    return State(
        format=_FORMAT,
        key=content.key,
        name=content.name,
        length=content.layout.length,
        piece_length=content.layout.piece_length,
        bits=bits,
        recent=recent[-MAX_RECENT:],
        url=validators.url,
        etag=validators.etag,
        last_modified=validators.last_modified,
    )


def encode(state: State) -> bytes:
    """The bytes of a journal: a first line, the SHA-256 of the rest, the rest."""
    body = msgspec.msgpack.encode(state)
    return _MAGIC + sha256(body).digest() + body


def decode(data: bytes) -> State:
    """Read a journal. Raises ValueError, saying what is wrong with it."""
    if len(data) > MAX_JOURNAL:
        raise ValueError(f"it is longer than {MAX_JOURNAL} bytes")
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin as one of ours")
    body = data[_HEADER:]
    if sha256(body).digest() != data[len(_MAGIC) : _HEADER]:
        raise ValueError("its checksum is wrong")
    try:
        state = msgspec.msgpack.decode(body, type=State)
    except msgspec.MsgspecError as error:
        raise ValueError(f"its fields are wrong: {error}") from error
    if state.format != _FORMAT:
        raise ValueError(f"its format {state.format} is unknown")
    return state


def compare(state: State, content: Content, validators: Validators | None) -> None:
    """Whether what was begun can be gone on with. Raises Changed, saying what is another."""
    if state.key != content.key:
        raise Changed(f"an earlier download here is of {state.key} ({state.name}), not of {content.key}")
    if state.empty:
        return
    if state.length != content.layout.length:
        raise Changed(f"{content.name} was {state.length} bytes long and is now {content.layout.length}")
    if state.piece_length != content.layout.piece_length:
        raise Changed(
            f"{content.name} was cut at {state.piece_length} bytes and is now at {content.layout.piece_length}"
        )
    if content.verification.strength is not Verified.NONE or validators is None:
        return
    for what, before, now in (
        ("ETag", state.etag, validators.etag),
        ("Last-Modified", state.last_modified, validators.last_modified),
    ):
        if before and now and before != now:
            raise Changed(f"{content.name} has changed on the server: its {what} was {before} and is now {now}")


class Journal:
    """The journal file of one download. Blocking: for the pool's threads. Raises StorageError, naming the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._spare = path.with_name(path.name + ".new")

    def load(self) -> State | None:
        """What it says; None when there is none, or none that can be read, which is logged with the reason."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_JOURNAL + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, self.path) from error
        try:
            return decode(data)
        except ValueError as error:
            _log.warn(
                "{path}: the journal cannot be used and the download starts anew: {reason}",
                path=str(self.path),
                reason=str(error),
            )
            return None

    def save(self, state: State) -> None:
        """Replace it, so that at any moment the old or the new one is whole on disk.

        The room for the next one is taken while there is some, so that progress can be written on a full disk too.
        """
        data = encode(state)
        with told_as_storage_error(self.path):
            spare = os.open(self._spare, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                at = 0
                while at < len(data):
                    at += os.pwrite(spare, data[at:], at)
                os.ftruncate(spare, len(data))
                os.fsync(spare)
            finally:
                os.close(spare)
            self._spare.replace(self.path)
            sync_folder(self.path.parent)
        self._reserve(len(data))

    def _reserve(self, length: int) -> None:
        try:
            spare = os.open(self._spare, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                os.posix_fallocate(spare, 0, length + 4096)
            finally:
                os.close(spare)
        except OSError:
            self._spare.unlink(missing_ok=True)

    def drop_reserve(self) -> None:
        """Nothing more will be saved for now."""
        with told_as_storage_error(self.path):
            self._spare.unlink(missing_ok=True)

    def remove(self) -> None:
        """Take it off the disk."""
        with told_as_storage_error(self.path):
            self.path.unlink(missing_ok=True)
            self._spare.unlink(missing_ok=True)
