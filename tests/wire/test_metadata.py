"""Is a descriptor learnt from others whole and true, and never a wrong one?"""

from collections.abc import Sequence

import pytest

from p2sp.resource.descriptor import MAX_INFO, Descriptor, parse_info
from p2sp.resource.merkle import BLOCK, check_proof, height_for, piece_height
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.extensions import MetadataPart, MetadataReject, MetadataRequest, metadata_part_size, metadata_parts
from p2sp.wire.hashes import RUN
from p2sp.wire.learner import AVOID, PATIENCE, Learner
from p2sp.wire.messages import Hashes, HashReject, HashRequest
from p2sp.wire.metadata import InfoAssembly, LayerPlan, Library
from p2sp.wire.session import Event, Session
from tests.wire.support import ALICE, BOB, HASH, exchange, make_resource

SMALL, _ = make_resource([5 * BLOCK, 0, 3, 4 * BLOCK + 1], BLOCK)
LONG, _ = make_resource([1300 * BLOCK + 7, 2 * BLOCK, 5 * BLOCK], BLOCK, seed=2)
MANY, _ = make_resource([1] * 300, BLOCK, seed=3)


def bare(descriptor: Descriptor) -> Descriptor:
    return parse_info(descriptor.info)


def test_info_in_parts_in_any_order() -> None:
    info = MANY.info
    assert metadata_parts(len(info)) == 2
    assembly = InfoAssembly(MANY.resource_id, len(info))
    library = Library(MANY)
    for part in (1, 0):
        assert part in assembly.missing
        data = library.part(part)
        assert data is not None
        assembly.put(part, data)
    assert assembly.missing == []
    assert assembly.finish() == bare(MANY)
    assert library.part(2) is None
    assert library.part(-1) is None


def test_info_of_another_resource() -> None:
    assembly = InfoAssembly(SMALL.resource_id, len(SMALL.info))
    assembly.put(0, bytes(len(SMALL.info)))
    with pytest.raises(RemoteProtocolError, match="does not have the resource's id"):
        assembly.finish()


@pytest.mark.parametrize("size", [0, -1, MAX_INFO + 1])
def test_sizes_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"metadata of {size} bytes"):
        InfoAssembly(SMALL.resource_id, size)


@pytest.mark.parametrize(("part", "size"), [(0, BLOCK - 1), (1, 6), (2, 5), (-1, 5), (1, BLOCK)])
def test_parts_refused(part: int, size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="metadata has"):
        InfoAssembly(bytes(32), BLOCK + 5).put(part, bytes(size))


def requests_of(descriptor: Descriptor) -> list[HashRequest]:
    plan = LayerPlan(bare(descriptor))
    found = []
    while (request := plan.next()) is not None:
        found.append(request)
    return found


@pytest.mark.parametrize("descriptor", [SMALL, LONG, MANY])
def test_layers_run_by_run(descriptor: Descriptor) -> None:
    plan, library = LayerPlan(bare(descriptor)), Library(descriptor)
    assert plan.complete == (descriptor is MANY)
    for request in reversed(requests_of(descriptor)):
        assert request.length <= RUN
        answer = library.hashes(request)
        assert answer is not None
        plan.put(request, answer)
        plan.put(request, answer)
    assert plan.complete
    assert plan.finish() == descriptor


def test_requests_are_those_other_implementations_make() -> None:
    root = LONG.files[0].pieces_root
    assert root is not None
    first = [request for request in requests_of(LONG) if request.root == root]
    assert first == [HashRequest(root, 0, at, 512, 10) for at in (0, 512, 1024)]


@pytest.mark.parametrize("descriptor", [SMALL, LONG])
def test_every_wrong_answer_is_seen(descriptor: Descriptor) -> None:
    library = Library(descriptor)
    for request in requests_of(descriptor):
        answer = library.hashes(request)
        assert answer is not None
        wrong = [
            answer[:-32],
            answer + bytes(32),
            b"",
            bytes((answer[0] ^ 1,)) + answer[1:],
            answer[:-1] + bytes((answer[-1] ^ 0x80,)),
            bytes(len(answer)),
        ]
        for each in wrong:
            plan = LayerPlan(bare(descriptor))
            with pytest.raises(RemoteProtocolError, match="do not lead to root"):
                plan.put(request, each)
            assert not plan.complete


def test_runs_of_every_length_check_out() -> None:
    """What we serve is what BEP 52 asks for, whatever aligned run is requested."""
    root = LONG.files[0].pieces_root
    assert root is not None
    layer = LONG.layers[root]
    height = height_for(len(layer))
    library = Library(LONG)
    for length in (2, 4, 64, 256, 512, 1024, 2048):
        for index in {0, length, len(layer) // length * length, 640 // length * length}:
            if index >= len(layer):
                continue
            row: list[bytes] = []
            for proof in (0, min(height_for(length), height - 1), height - 1):
                answer = library.hashes(HashRequest(root, 0, index, length, proof))
                assert answer is not None
                uncles = max(proof - height_for(length) + 1, 0)
                assert len(answer) == 32 * (length + uncles)
                assert answer.startswith(b"".join(layer[index : index + length]))
                row = [answer[at : at + 32] for at in range(0, len(answer), 32)]
            assert check_proof(row[:length], 0, index, row[length:], root, height)


@pytest.mark.parametrize(
    "change",
    [
        {"base": 11},
        {"base": 2**32 - 1},
        {"length": 1},
        {"length": 3},
        {"length": 4096},
        {"length": 0},
        {"index": 1},
        {"index": 2048},
        {"index": 1536},
        {"proof": 11},
        {"proof": 2**32 - 1},
        {"root": bytes(32)},
    ],
)
def test_requests_that_are_not_served(change: dict[str, int | bytes]) -> None:
    root = LONG.files[0].pieces_root
    fields: dict[str, int | bytes] = {"root": root or b"", "base": 0, "index": 512, "length": 512, "proof": 10}
    assert Library(LONG).hashes(HashRequest(**fields)) is not None  # type: ignore[arg-type]
    assert Library(LONG).hashes(HashRequest(**{**fields, **change})) is None  # type: ignore[arg-type]


def test_levels_above_the_leaves() -> None:
    descriptor, _ = make_resource([9 * 4 * BLOCK], 4 * BLOCK)
    (request,) = requests_of(descriptor)
    assert (request.base, request.length, request.proof) == (piece_height(4 * BLOCK), 16, 3)
    answer = Library(descriptor).hashes(request)
    plan = LayerPlan(bare(descriptor))
    assert answer is not None
    plan.put(request, answer)
    assert plan.finish() == descriptor


# Learning over sessions.


class Teacher:
    """One side that knows a descriptor, and the learner's session to it."""

    def __init__(self, descriptor: Descriptor, *, size: int | None = None) -> None:
        self.library = Library(descriptor)
        self.ours, self.theirs = Session(), Session()
        self.ours.open(HASH, ALICE)
        self.theirs.open(HASH, BOB, layout=descriptor.layout, metadata_size=size or len(descriptor.info))
        exchange(self.ours, self.theirs)

    def asked(self) -> list[Event]:
        return exchange(self.ours, self.theirs)[1]

    def answer(self, events: Sequence[Event]) -> list[Event]:
        for event in events:
            if isinstance(event, MetadataRequest):
                self.theirs.give_metadata(event.part, self.library.part(event.part))
            elif isinstance(event, HashRequest):
                self.theirs.give_hashes(event, self.library.hashes(event))
        return exchange(self.ours, self.theirs)[0]


def teach(learner: Learner, teacher: Teacher, events: Sequence[Event], now: float) -> None:
    for event in events:
        if isinstance(event, MetadataPart):
            learner.part(teacher.ours, event.part, event.data, now)
        elif isinstance(event, MetadataReject):
            learner.refused(teacher.ours, None, now)
        elif isinstance(event, Hashes):
            learner.hashes(event.request, event.hashes)
        elif isinstance(event, HashReject):
            learner.refused(teacher.ours, event.request, now)


@pytest.mark.parametrize("descriptor", [SMALL, LONG, MANY])
@pytest.mark.parametrize("teachers", [1, 3])
def test_all_is_learnt(descriptor: Descriptor, teachers: int) -> None:
    learner = Learner(descriptor.resource_id)
    them = [Teacher(descriptor) for _ in range(teachers)]
    for now in range(10):
        learner.ask([teacher.ours for teacher in them], now)
        for teacher in them:
            teach(learner, teacher, teacher.answer(teacher.asked()), now)
        if learner.found():
            break
    assert learner.found() == descriptor


def test_only_layers_are_asked_for_when_the_info_is_known() -> None:
    learner, teacher = Learner(SMALL.resource_id, bare(SMALL)), Teacher(SMALL)
    learner.ask([teacher.ours], 0)
    asked = teacher.asked()
    assert asked
    assert all(isinstance(event, HashRequest) for event in asked)


def test_the_info_is_asked_of_one_side_and_of_another_when_it_is_silent() -> None:
    learner = Learner(MANY.resource_id)
    silent, good = Teacher(MANY), Teacher(MANY)
    both = [silent.ours, good.ours]
    learner.ask(both, 0)
    assert silent.asked() == [MetadataRequest(0), MetadataRequest(1)]
    learner.ask(both, PATIENCE - 1)
    assert (silent.asked(), good.asked()) == ([], [])
    learner.ask(both, PATIENCE)
    teach(learner, good, good.answer(good.asked()), PATIENCE)
    assert learner.found() == MANY


@pytest.mark.parametrize("how", ["refuses", "goes"])
def test_another_side_is_asked_when_one_refuses_or_goes(how: str) -> None:
    learner = Learner(SMALL.resource_id)
    bad, good = Teacher(SMALL), Teacher(SMALL)
    learner.ask([bad.ours, good.ours], 0)
    assert bad.asked()
    if how == "refuses":
        bad.theirs.give_metadata(0, None)
        teach(learner, bad, exchange(bad.ours, bad.theirs)[0], 0)
        sessions = [bad.ours, good.ours]
    else:
        learner.gone(bad.ours)
        sessions = [good.ours]
    learner.ask(sessions, 1)
    teach(learner, good, good.answer(good.asked()), 1)
    learner.ask(sessions, 2)
    asked = good.answer(good.asked())
    assert asked
    teach(learner, good, asked, 2)
    assert learner.found() == SMALL


def test_who_refused_is_asked_again_later() -> None:
    learner, teacher = Learner(SMALL.resource_id), Teacher(SMALL)
    learner.ask([teacher.ours], 0)
    teacher.asked()
    teacher.theirs.give_metadata(0, None)
    teach(learner, teacher, exchange(teacher.ours, teacher.theirs)[0], 0)
    learner.ask([teacher.ours], 1)
    assert teacher.asked() == []
    learner.ask([teacher.ours], AVOID)
    assert teacher.asked() == [MetadataRequest(0)]


def test_runs_owed_by_a_silent_side_are_asked_of_another() -> None:
    learner = Learner(LONG.resource_id, bare(LONG))
    silent, good = Teacher(LONG), Teacher(LONG)
    learner.ask([silent.ours], 0)
    owed = silent.asked()
    assert len(owed) == 4
    for now in (PATIENCE, PATIENCE + 1, PATIENCE + 2):
        learner.ask([silent.ours, good.ours], now)
        teach(learner, good, good.answer(good.asked()), now)
    assert silent.asked() == []
    assert learner.found() == LONG
    # What comes late does no harm.
    teach(learner, silent, silent.answer(owed), 99)
    assert learner.found() == LONG


def test_a_wrong_info_has_an_author() -> None:
    learner, liar = Learner(SMALL.resource_id), Teacher(LONG)
    learner.ask([liar.ours], 0)
    with pytest.raises(RemoteProtocolError, match="does not have the resource's id"):
        teach(learner, liar, liar.answer(liar.asked()), 0)
    assert learner.found() is None


def test_parts_of_who_is_not_the_teacher_any_more_are_passed_over() -> None:
    learner, liar = Learner(SMALL.resource_id), Teacher(LONG)
    learner.ask([liar.ours], 0)
    owed = liar.asked()
    learner.ask([liar.ours], PATIENCE)
    teach(learner, liar, liar.answer(owed), PATIENCE)
    assert learner.found() is None


def test_sizes_of_parts() -> None:
    assert [metadata_part_size(BLOCK + 3, part) for part in range(2)] == [BLOCK, 3]
