"""What do the tests of storage share: contents with true bytes, and stores over them?"""

from hashlib import sha256
from random import Random

import attrs

from p2sp.resource.descriptor import FileEntry, make_descriptor
from p2sp.resource.merkle import BLOCK, FileHasher
from p2sp.resource.verification import Content, described, undescribed

PIECE = 4 * BLOCK


def noise(length: int, seed: int = 0) -> bytes:
    """The same bytes for the same seed."""
    return Random(seed).randbytes(length)


@attrs.frozen
class Sample:
    """A content and its true bytes, file by file."""

    content: Content
    files: tuple[bytes, ...]

    def at(self, start: int, stop: int) -> bytes:
        """The true bytes of a run of positions."""
        parts = self.content.layout.segments(start, stop)
        return b"".join(self.files[part.file][part.offset : part.offset + part.length] for part in parts)

    def piece(self, piece: int) -> bytes:
        """The true bytes of a piece."""
        layout = self.content.layout
        return self.at(layout.piece_start(piece), layout.piece_end(piece))

    def start(self, piece: int) -> int:
        """Where a piece begins."""
        return self.content.layout.piece_start(piece)


def sample_tree(files: dict[str, bytes], name: str = "tree", piece_length: int = PIECE) -> Sample:
    """A described content of these files by path."""
    entries = []
    for path, data in files.items():
        hasher = FileHasher(piece_length)
        hasher.update(data)
        root, layer = hasher.finish()
        entries.append((FileEntry(tuple(path.split("/")), len(data), root), layer))
    descriptor = make_descriptor(name, entries, piece_length)
    return Sample(described(descriptor), tuple(files["/".join(entry.path)] for entry in descriptor.files))


def sample_file(data: bytes, name: str = "file.bin", piece_length: int = PIECE) -> Sample:
    """A described content of one file."""
    return sample_tree({name: data}, name, piece_length)


def sample_unknown(data: bytes, key: str = "http://mirror/file.bin") -> Sample:
    """A content of which nothing is known but where it is from."""
    return Sample(undescribed(key, "file.bin", len(data)), (data,))


def spoiled(data: bytes, at: int = 0) -> bytes:
    """The same bytes but one."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return sha256(data).hexdigest()
