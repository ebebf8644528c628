"""Are rare pieces sent first, each in its order, and does nobody wait for ever?"""

from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.merkle import BLOCK
from p2sp.wire.messages import Request
from p2sp.wire.order import CHOICE, OVERTAKEN, Queue


def request(piece: int, number: int) -> Request:
    return Request(piece, number * BLOCK, BLOCK)


def test_the_rarest_of_the_next_pieces_comes_first() -> None:
    copies = {0: 3, 1: 2, 2: 1, 3: 2, 4: 0}
    queue = Queue(copies.__getitem__)
    for piece in copies:
        queue.add(request(piece, 0))
    # The fifth is compared with others only once it is among the first four.
    assert CHOICE == 4
    assert [queue.take().piece for _ in range(5)] == [2, 4, 1, 3, 0]
    assert not queue


def test_pieces_of_which_there_are_as_many_go_as_asked_for() -> None:
    queue = Queue(lambda piece: 7)
    for piece in (3, 1, 2):
        queue.add(request(piece, 0))
    assert [queue.take().piece for _ in range(3)] == [3, 1, 2]


def test_what_follows_is_taken_in_its_order_alone() -> None:
    queue = Queue(lambda piece: 0)
    for piece, number in ((5, 0), (6, 0), (5, 1), (5, 3)):
        queue.add(request(piece, number))
    first = queue.take()
    second = queue.take_behind(first)
    assert (first, second) == (request(5, 0), request(5, 1))
    assert queue.take_behind(request(5, 1)) is None
    assert queue.take_behind(request(9, 0)) is None
    assert [queue.take() for _ in range(2)] == [request(5, 3), request(6, 0)]


def test_the_first_stays_first_until_it_is_taken() -> None:
    copies = {0: 2, 1: 1}
    queue = Queue(lambda piece: copies[piece])
    queue.add(request(0, 0))
    queue.add(request(1, 0))
    assert queue.first.piece == 1
    copies[1] = 9
    assert queue.first.piece == 1
    assert queue.take().piece == 1


def test_a_common_piece_is_not_passed_over_for_ever() -> None:
    queue = Queue(lambda piece: 9 if piece == 0 else 1)
    queue.add(request(0, 0))
    passed = 0
    while True:
        queue.add(request(1 + passed, 0))
        if queue.take().piece == 0:
            break
        passed += 1
    assert passed == OVERTAKEN


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=60), st.randoms(use_true_random=False))
def test_each_request_is_answered_once_and_in_order_within_its_piece(asked: list[tuple[int, int]], rng: object) -> None:
    queue = Queue(lambda piece: rng.randrange(4))  # type: ignore[attr-defined]
    for piece, number in asked:
        queue.add(request(piece, number))
    got = []
    while queue:
        first = queue.take()
        got.append(first)
        if (behind := queue.take_behind(first)) is not None:
            assert (behind.piece, behind.begin) == (first.piece, first.begin + BLOCK)
            got.append(behind)
    for piece in range(7):
        assert [r for r in got if r.piece == piece] == [request(*each) for each in asked if each[0] == piece]
