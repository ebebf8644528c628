"""Which decoders get bytes of strangers, and what must be true of them whatever the bytes are?

Each target takes one input and returns; an exception that leaves it is a finding. `tests.fuzz.wire_fuzz` searches for
one, `tests.fuzz.test_corpus` tries again what was found before.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from bencode2 import bencode

from p2sp.resource.descriptor import parse_info, parse_torrent
from p2sp.resource.errors import DescriptorError, MagnetError, MetalinkError
from p2sp.resource.magnet import parse_magnet
from p2sp.resource.merkle import HASH_SIZE, blocks_in, check_proof, height_for, leaf_hashes
from p2sp.resource.metalink_xml import parse_metalink, write_metalink
from p2sp.wire.codec import Decoder, Limits, encode
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.extensions import (
    MetadataPart,
    MetadataReject,
    MetadataRequest,
    decode_abilities,
    decode_dont_have,
    decode_metadata,
    decode_pex,
    encode_abilities,
    encode_dont_have,
    encode_metadata,
)
from p2sp.wire.hashes import split_hashes
from p2sp.wire.messages import HashRequest, Message
from p2sp.wire.metadata import InfoAssembly, LayerPlan, Library
from p2sp.wire.pex import MAX_READ, callable_from, encode_neighbours
from tests.fuzz.script import Reader, run_script
from tests.wire.support import make_resource

LARGEST_FRAME: Final = max(Limits().bitfield, Limits().of(22)) + 4
RESOURCE, DATA = make_resource([40 * 32768 + 5, 100, 3 * 32768], 32768)
LIBRARY = Library(RESOURCE)
LEAVES: Final[list[list[bytes]]] = []
for _piece in range(RESOURCE.layout.piece_count):
    _size = RESOURCE.layout.piece_size(_piece)
    LEAVES.append(leaf_hashes(DATA[:_size]))
    DATA = DATA[_size:]


def _decoded(parts: list[bytes]) -> tuple[list[Message], str]:
    """The messages in these parts of a stream, and the fault at which it ends."""
    decoder = Decoder()
    messages: list[Message] = []
    try:
        for part in parts:
            messages += decoder.feed(part)
            assert decoder.buffered <= LARGEST_FRAME
    except RemoteProtocolError as error:
        return messages, str(error)
    return messages, ""


def frames(data: bytes) -> None:
    """A stream means the same however it is cut, and what was decoded is encoded as it came."""
    reader = Reader(data)
    shake = reader.byte() & 1
    size = reader.byte() + 1
    stream = reader.rest()
    if shake:
        stream = b"\x13BitTorrent protocol" + bytes(48) + stream
    whole, fault = _decoded([stream])
    cut, cut_fault = _decoded([stream[at : at + size] for at in range(0, len(stream), size)])
    assert (whole, fault) == (cut, cut_fault)
    again, broken = _decoded([b"".join(part for message in whole for part in encode(message))])
    assert (again, broken) == (whole, "")


def session(data: bytes) -> None:
    """Bytes of a stranger and wishes of our own, in turns: see `run_script`."""
    run_script(data)


def abilities(data: bytes) -> None:
    """An extension handshake is read, or refused; what was read is written so that it is read the same."""
    try:
        read = decode_abilities(data)
    except RemoteProtocolError:
        return
    assert decode_abilities(encode_abilities(read)) == read


def extensions(data: bytes) -> None:
    """The payloads of metadata messages and of lt_donthave."""
    reader = Reader(data)
    size = (None, 1, 16384, 16385, 40000, 312, 8 * 1024 * 1024)[reader.byte() % 7]
    payload = reader.rest()
    if payload[:1] == b"P":
        # A whole part: longer than what a search would come upon.
        head = bencode({b"msg_type": 1, b"piece": 0, b"total_size": 40000})
        payload = head + bytes(16384) + payload[1:]
    try:
        read = decode_metadata(payload, size)
    except RemoteProtocolError:
        read = None
    if isinstance(read, MetadataPart | MetadataRequest | MetadataReject):
        assert decode_metadata(encode_metadata(read), size) == read
    try:
        lost = decode_dont_have(payload)
    except RemoteProtocolError:
        return
    assert encode_dont_have(lost.piece) == payload


def pex(data: bytes) -> None:
    """News of other nodes are read, within bounds, or refused; what was read is written so that it is read the same."""
    try:
        read = decode_pex(data)
    except RemoteProtocolError:
        return
    assert max(len(read.added), len(read.dropped)) <= MAX_READ
    again = decode_pex(encode_neighbours(read))
    assert set(again.added) == set(read.added)
    assert set(again.dropped) == set(read.dropped)
    for node in callable_from(read.added, "192.0.2.1"):
        assert node.node_id
        assert not _mapped(node.host).is_loopback


def _mapped(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host)
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def metadata(data: bytes) -> None:
    """Parts of an info dict, true ones and others, in any order: what comes out whole has the resource's id."""
    reader = Reader(data)
    info = RESOURCE.info
    try:
        assembly = InfoAssembly(RESOURCE.resource_id, len(info) if reader.byte() & 1 else reader.number(3))
        while reader.more:
            way = reader.byte()
            part = reader.byte() % 4
            assembly.put(part, LIBRARY.part(part) or b"" if way & 1 else reader.take(reader.number(2)))
            if not assembly.missing:
                assert assembly.finish().resource_id == RESOURCE.resource_id
                return
    except (RemoteProtocolError, DescriptorError):
        return


def hashes(data: bytes) -> None:
    """Answers to hash requests, true ones spoilt: piece layers that come to be complete are the true ones."""
    reader = Reader(data)
    bare = parse_info(RESOURCE.info)
    plan = LayerPlan(bare)
    while reader.more and not plan.complete:
        run = plan.next()
        assert run is not None
        answer = bytearray(LIBRARY.hashes(run) or b"")
        for _ in range(reader.byte() % 4):
            _spoil(answer, reader)
        try:
            plan.put(run, bytes(answer))
        except RemoteProtocolError:
            plan.give_back(run)
    if plan.complete:
        assert plan.finish().layers == RESOURCE.layers


def _spoil(answer: bytearray, reader: Reader) -> None:
    match reader.byte() % 5:
        case 0 if answer:
            answer[reader.number(2) % len(answer)] ^= reader.byte()
        case 1:
            del answer[reader.number(2) :]
        case 2:
            answer += reader.take(HASH_SIZE)
        case 3:
            at = reader.byte() * HASH_SIZE
            answer[at : at + HASH_SIZE], answer[:HASH_SIZE] = answer[:HASH_SIZE], answer[at : at + HASH_SIZE]
        case _:
            answer[:0] = reader.take(HASH_SIZE)


def questions(data: bytes) -> None:
    """Any hash request gets nothing, or hashes that prove themselves."""
    reader = Reader(data)
    roots = [entry.pieces_root or b"" for entry in RESOURCE.files]
    while reader.more:
        file = (which := reader.byte()) % len(roots)
        root = reader.take(HASH_SIZE).ljust(HASH_SIZE) if which > 250 else roots[file]
        fields = (reader.number(4) if (way := reader.byte()) > 200 else way for _ in range(4))
        request = HashRequest(root, *fields)
        pieces = LIBRARY.pieces_for(request)
        if pieces is None:
            assert LIBRARY.hashes(request) is None
            continue
        answer = LIBRARY.hashes(request, [leaf for piece in pieces for leaf in LEAVES[piece]])
        assert answer is not None
        values = split_hashes(answer)
        nodes, uncles = values[: request.length], values[request.length :]
        assert len(nodes) == request.length
        height = height_for(blocks_in(RESOURCE.layout.lengths[file])) - request.base
        if request.proof == height - 1:
            assert check_proof(nodes, request.base, request.index, uncles, root, height)


def torrent(data: bytes) -> None:
    """A `.torrent` is read, with names that lead nowhere else, or refused; one that was read is written as itself."""
    try:
        read = parse_torrent(data)
    except DescriptorError:
        return
    descriptor = read.descriptor
    for entry in descriptor.files:
        for name in entry.path:
            assert name not in ("", ".", "..")
            assert "/" not in name
            assert "\0" not in name
    again = parse_torrent(descriptor.to_torrent(read.trackers, read.mirrors))
    assert again.descriptor.resource_id == descriptor.resource_id
    assert again.descriptor.layers == descriptor.layers


def info(data: bytes) -> None:
    """An info dict is read or refused."""
    try:
        read = parse_info(data)
    except DescriptorError:
        return
    assert read.info == data
    assert LayerPlan(read).complete == (not read.missing_layers)


def metalink(data: bytes) -> None:
    """A Metalink is read or refused; one that was read is written so that it is read the same."""
    try:
        files = parse_metalink(data)
    except MetalinkError:
        return
    for file in files:
        assert ".." not in file.name.split("/")
        assert not file.name.startswith("/")
        (again,) = parse_metalink(write_metalink(file))
        assert again == file


def magnet(data: bytes) -> None:
    """A magnet link is read or refused; one that was read is written so that it is read the same."""
    try:
        read = parse_magnet(data.decode("utf-8", "replace"))
    except MagnetError:
        return
    assert parse_magnet(str(read)).resource_id == read.resource_id


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (
        frames,
        session,
        abilities,
        extensions,
        pex,
        metadata,
        hashes,
        questions,
        torrent,
        info,
        metalink,
        magnet,
    )
}
