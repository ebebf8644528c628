"""How is a descriptor put together from what others send, and how is it given to others (BEP 9, BEP 52)?"""

from collections import deque
from hashlib import sha256
from typing import Final

import attrs

from p2sp.resource.descriptor import MAX_INFO, Descriptor, parse_info
from p2sp.resource.merkle import BLOCK, HASH_SIZE, check_proof, height_for, pad_hash, piece_height, proof_for, root_of
from p2sp.wire.codec import MAX_HASHES
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.extensions import metadata_part_size, metadata_parts
from p2sp.wire.messages import HashRequest

RUN: Final = 512
"""Hashes asked for at a time: aligned runs that every implementation serves."""

_RUN_HEIGHT: Final = height_for(RUN)


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
        if sha256(info).digest() != self._resource_id:
            raise RemoteProtocolError("metadata that does not have the resource's id")
        return parse_info(info)


@attrs.define
class _Row:
    """The piece layer of one file as far as it is known, in runs."""

    count: int
    height: int
    runs: list[list[bytes] | None]


class LayerPlan:
    """Which runs of hashes are still needed for a descriptor to be complete, and what came of them."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
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
        values = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
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
        return attrs.evolve(self._descriptor, layers={**self._descriptor.layers, **layers})

    def _run(self, request: HashRequest) -> list[bytes] | None:
        row = self._rows.get(request.root)
        return row.runs[request.index // request.length] if row else None


class Library:
    """Answers others' questions about a descriptor."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._level = piece_height(descriptor.piece_length)
        self._tops: dict[bytes, list[bytes]] = {}

    def part(self, part: int) -> bytes | None:
        """A part of the info dict; None for one that does not exist."""
        if not 0 <= part < metadata_parts(len(self._descriptor.info)):
            return None
        return self._descriptor.info[part * BLOCK : (part + 1) * BLOCK]

    def hashes(self, request: HashRequest) -> bytes | None:
        """Hashes of a piece layer and the uncles asked for; None for a request that BEP 52 or we do not allow.

        Only piece layers are served: who needs the leaves of a piece has to hash the piece.
        """
        layer = self._descriptor.layers.get(request.root)
        length, index = request.length, request.index
        if layer is None or request.base != self._level:
            return None
        height = height_for(len(layer))
        if not 2 <= length <= min(MAX_HASHES, 1 << height) or length & (length - 1):
            return None
        if index % length or index >= len(layer) or request.proof >= height:
            return None
        nodes = layer[index : index + length]
        padding = pad_hash(self._level) * (length - len(nodes))
        # The first levels of the proof follow from the hashes themselves and are left out (BEP 52).
        uncles = self._uncles(request.root, layer, index, length)[: max(request.proof - height_for(length) + 1, 0)]
        return b"".join(nodes) + padding + b"".join(uncles)

    def _uncles(self, root: bytes, layer: tuple[bytes, ...], index: int, length: int) -> list[bytes]:
        height = height_for(len(layer))
        if height <= _RUN_HEIGHT:
            return proof_for(layer, self._level, index, length, height)
        tops = self._tops.get(root)
        if tops is None:
            # Kept, so that a request costs the hashes of one run and not of a whole layer.
            tops = self._tops[root] = [
                root_of(layer[at : at + RUN], _RUN_HEIGHT, self._level) for at in range(0, len(layer), RUN)
            ]
        above = self._level + _RUN_HEIGHT, height - _RUN_HEIGHT
        if length >= RUN:
            return proof_for(tops, above[0], index // RUN, length // RUN, above[1])
        run = layer[index // RUN * RUN :][:RUN]
        inside = proof_for(run, self._level, index % RUN, length, _RUN_HEIGHT)
        return inside + proof_for(tops, above[0], index // RUN, 1, above[1])
