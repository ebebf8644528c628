"""How is a descriptor put together from what others send, and how is it given to others (BEP 9, BEP 52)?"""

from collections import deque

import attrs

from p2sp.resource.descriptor import MAX_INFO, Descriptor
from p2sp.resource.merkle import BLOCK, check_proof, height_for, pad_hash, piece_height
from p2sp.resource.torrent_v1 import parse_info_of
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.extensions import metadata_part_size, metadata_parts
from p2sp.wire.hashes import RUN, HashShelf, split_hashes
from p2sp.wire.messages import HashRequest


class InfoAssembly:
    """Gathers the parts of an info dict from one teller. Raises RemoteProtocolError for a size beyond the limit."""

    def __init__(self, resource_id: bytes, size: int) -> None:
        if not 0 < size <= MAX_INFO:
            raise RemoteProtocolError(f"metadata of {size} bytes; 1 to {MAX_INFO} are allowed")
        self.size = size
        self._resource_id = resource_id
        self._parts: list[bytes | None] = [None] * metadata_parts(size)

    @property
    def missing(self) -> list[int]:
        """Parts still to come."""
        return [part for part, data in enumerate(self._parts) if data is None]

    def put(self, part: int, data: bytes) -> None:
        """Take a part. Raises RemoteProtocolError when it cannot be one."""
        if not 0 <= part < len(self._parts) or len(data) != metadata_part_size(self.size, part):
            raise RemoteProtocolError(f"part {part} of metadata has {len(data)} bytes")
        self._parts[part] = data

    def finish(self) -> Descriptor:
        """The descriptor, without piece layers, once no part is missing.

        Raises RemoteProtocolError when the parts are not this resource's, and DescriptorError when they are, but make
        no descriptor: then no other teller will do better.
        """
        info = b"".join(part for part in self._parts if part is not None)
        descriptor = parse_info_of(self._resource_id, info)
        if descriptor is None:
            raise RemoteProtocolError("metadata that does not have the resource's id")
        return descriptor


@attrs.define
class _Row:
    """The piece layer of one file as far as it is known, in runs."""

    count: int
    height: int
    runs: list[list[bytes] | None]


class LayerPlan:
    """Which runs of hashes are still needed for a descriptor to be complete, and what came of them."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self._level = piece_height(descriptor.piece_length)
        self._rows: dict[bytes, _Row] = {}
        self._open: deque[HashRequest] = deque()
        self._left = 0
        for entry in descriptor.missing_layers:
            if entry.pieces_root is None or entry.pieces_root in self._rows:
                continue
            count = -(-entry.length // descriptor.piece_length)
            height = height_for(count)
            length = min(RUN, 1 << height)
            starts = range(0, count, length)
            self._rows[entry.pieces_root] = _Row(count, height, [None] * len(starts))
            self._left += len(starts)
            self._open += (HashRequest(entry.pieces_root, self._level, at, length, height - 1) for at in starts)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self._left

    def next(self) -> HashRequest | None:
        """A run that nobody has been asked for."""
        return self._open.popleft() if self._open else None

    def give_back(self, request: HashRequest) -> None:
        """Somebody will not answer: ask another."""
        if self._run(request) is None:
            self._open.appendleft(request)

    def put(self, request: HashRequest, hashes: bytes) -> None:
        """Take an answer. Raises RemoteProtocolError when it does not lead to the file's root."""
        row = self._rows.get(request.root)
        if row is None or self._run(request) is not None:
            return
        values = split_hashes(hashes)
        nodes, uncles = values[: request.length], values[request.length :]
        good = len(nodes) == request.length and check_proof(
            nodes, self._level, request.index, uncles, request.root, row.height
        )
        real = min(row.count - request.index, request.length)
        if not good or any(node != pad_hash(self._level) for node in nodes[real:]):
            raise RemoteProtocolError(f"Hashes at {request.index} that do not lead to root {request.root.hex()}")
        row.runs[request.index // request.length] = nodes[:real]
        self._left -= 1

    def finish(self) -> Descriptor:
        """The descriptor with all its piece layers."""
        layers = {
            root: tuple(node for run in row.runs if run is not None for node in run) for root, row in self._rows.items()
        }
        return attrs.evolve(self.descriptor, layers={**self.descriptor.layers, **layers})

    def _run(self, request: HashRequest) -> list[bytes] | None:
        row = self._rows.get(request.root)
        return row.runs[request.index // request.length] if row else None


class Library:
    """Answers others' questions about a descriptor."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._info = descriptor.info
        self._shelf = HashShelf(descriptor)
        self.pieces_for = self._shelf.pieces_for
        self.hashes = self._shelf.answer

    def part(self, part: int) -> bytes | None:
        """A part of the info dict; None for one that does not exist."""
        if not 0 <= part < metadata_parts(len(self._info)):
            return None
        return self._info[part * BLOCK : (part + 1) * BLOCK]
