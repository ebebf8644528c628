"""Is blame exact, and is memory bounded?"""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2sp.resource.merkle import BLOCK, leaf_hashes
from p2sp.storage.interfaces import Verdict
from p2sp.storage.pieces import FAILED_KEPT, PIECES_REMEMBERED, PieceBook
from tests.storage.kit import PIECE, noise, sample_file, sample_unknown

BLOCKS = PIECE // BLOCK
SAMPLE = sample_file(noise(2 * PIECE + BLOCK + 1))
LEAVES = [leaf_hashes(SAMPLE.piece(piece)) for piece in range(3)]
WRONG = b"w" * 32


def write(book: PieceBook, piece: int, block: int, source: str, leaf: bytes) -> Verdict | None:
    runs = book.claim(piece, range(block, block + 1))
    return book.landed(piece, runs, [leaf], source) if runs else None


@given(st.lists(st.booleans(), min_size=BLOCKS, max_size=BLOCKS).filter(any), st.permutations(range(BLOCKS)))
def test_exactly_those_who_gave_other_bytes_are_blamed(lies: list[bool], order: list[int]) -> None:
    book = PieceBook(SAMPLE.content)
    for block in order:
        leaf = WRONG if lies[block] else LEAVES[0][block]
        verdict = write(book, 0, block, f"s{block}", leaf)
    assert verdict == Verdict(0, False, frozenset(f"s{block}" for block in range(BLOCKS)))
    runs = book.claim(0, range(BLOCKS))
    assert runs == [range(BLOCKS)]
    verdict = book.landed(0, runs, LEAVES[0], "saviour")
    assert verdict == Verdict(0, True, frozenset(f"s{block}" for block in range(BLOCKS) if lies[block]))


def test_claims_are_the_free_runs() -> None:
    book = PieceBook(SAMPLE.content)
    assert book.claim(0, range(1, 2)) == [range(1, 2)]
    assert book.claim(0, range(4)) == [range(1), range(2, 4)]
    assert book.claim(0, range(4)) == []
    book.release(0, [range(2, 4)])
    assert book.claim(0, range(1, 4)) == [range(2, 4)]
    assert book.claim(2, range(2)) == [range(2)]


def test_only_the_latest_failed_attempts_are_kept() -> None:
    book = PieceBook(SAMPLE.content)
    for attempt in range(FAILED_KEPT + 1):
        assert book.landed(0, book.claim(0, range(BLOCKS)), [WRONG] * BLOCKS, f"liar {attempt}")
    verdict = book.landed(0, book.claim(0, range(BLOCKS)), LEAVES[0], "s")
    assert verdict == Verdict(0, True, frozenset(f"liar {attempt}" for attempt in range(1, FAILED_KEPT + 1)))


def test_failed_attempts_of_so_many_pieces_are_kept() -> None:
    count = PIECES_REMEMBERED + 1
    sample = sample_file(noise(BLOCK) * count, piece_length=BLOCK)
    leaf = leaf_hashes(noise(BLOCK))
    book = PieceBook(sample.content)
    for piece in range(count):
        book.landed(piece, book.claim(piece, range(1)), [WRONG], "liar")
    blamed = [book.landed(piece, book.claim(piece, range(1)), leaf, "s") for piece in range(count)]
    assert blamed[0] == Verdict(0, True, frozenset())
    assert all(verdict == Verdict(piece, True, frozenset(["liar"])) for piece, verdict in enumerate(blamed) if piece)


def test_content_without_hashes_takes_what_comes() -> None:
    sample = sample_unknown(bytes(2 * BLOCK))
    book = PieceBook(sample.content)
    assert book.landed(0, book.claim(0, range(2)), [WRONG, WRONG], "s") == Verdict(0, True, frozenset())
    assert book.complete


class BookMachine(RuleBasedStateMachine):
    """The book against plain sets."""

    def __init__(self) -> None:
        super().__init__()
        self.book = PieceBook(SAMPLE.content)
        self.claimed: list[tuple[int, list[range]]] = []
        self.done: dict[int, dict[int, bytes]] = {piece: {} for piece in range(3)}
        self.good: set[int] = set()

    @rule(piece=st.integers(0, 2), blocks=st.tuples(st.integers(0, 4), st.integers(0, 4)))
    def claim(self, piece: int, blocks: tuple[int, int]) -> None:
        wanted = range(blocks[0], min(blocks[1], len(LEAVES[piece])))
        runs = self.book.claim(piece, wanted)
        taken = {block for run in runs for block in run}
        busy = {block for where, held in self.claimed if where == piece for run in held for block in run}
        assert taken == (set() if piece in self.good else set(wanted) - busy - set(self.done[piece]))
        if runs:
            self.claimed.append((piece, runs))

    @rule(which=st.integers(0, 20), lie=st.booleans())
    def land(self, which: int, lie: bool) -> None:
        if not self.claimed:
            return
        piece, runs = self.claimed.pop(which % len(self.claimed))
        leaves = [WRONG if lie else LEAVES[piece][block] for run in runs for block in run]
        verdict = self.book.landed(piece, runs, leaves, "s")
        self.done[piece].update(zip([block for run in runs for block in run], leaves, strict=True))
        if len(self.done[piece]) < len(LEAVES[piece]):
            assert verdict is None
            return
        right = [self.done[piece][block] for block in range(len(LEAVES[piece]))] == LEAVES[piece]
        self.done[piece] = {}
        assert verdict is not None
        assert verdict.good == right
        if right:
            self.good.add(piece)

    @rule(which=st.integers(0, 20))
    def fail(self, which: int) -> None:
        if self.claimed:
            self.book.release(*self.claimed.pop(which % len(self.claimed)))

    @rule(piece=st.integers(0, 2))
    def forget(self, piece: int) -> None:
        assert self.book.forget(piece) == (piece in self.good)
        self.good.discard(piece)

    @rule(piece=st.integers(0, 2))
    def mark(self, piece: int) -> None:
        if not self.done[piece] and not any(where == piece for where, _ in self.claimed):
            self.book.mark(piece)
            self.good.add(piece)

    @invariant()
    def sums_agree(self) -> None:
        assert {piece for piece, good in enumerate(self.book.verified) if good} == self.good
        assert self.book.count == len(self.good)
        assert self.book.complete == (len(self.good) == 3)
        assert self.book.bytes_verified == sum(SAMPLE.content.layout.piece_size(piece) for piece in self.good)
        assert self.book.bits[0] == sum(0x80 >> piece for piece in self.good)
        missing = {at for start, stop in self.book.remaining() for at in range(start, stop, BLOCK)}
        assert missing == {
            at
            for piece in range(3)
            if piece not in self.good
            for at in range(SAMPLE.start(piece), SAMPLE.content.layout.piece_end(piece), BLOCK)
        }
        runs = self.book.remaining()
        assert all(before[1] < after[0] for before, after in pairwise(runs))


BookTests = BookMachine.TestCase
