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
    runs = book.claim(piece, range(block, block + 1), source)
    return book.landed(piece, runs, [leaf]) if runs else None


@given(st.lists(st.booleans(), min_size=BLOCKS, max_size=BLOCKS).filter(any), st.permutations(range(BLOCKS)))
def test_exactly_those_who_gave_other_bytes_are_blamed(lies: list[bool], order: list[int]) -> None:
    book = PieceBook(SAMPLE.content)
    for block in order:
        leaf = WRONG if lies[block] else LEAVES[0][block]
        verdict = write(book, 0, block, f"s{block}", leaf)
    assert verdict == Verdict(0, False, frozenset(f"s{block}" for block in range(BLOCKS)))
    runs = book.claim(0, range(BLOCKS), "saviour")
    assert runs == [range(BLOCKS)]
    verdict = book.landed(0, runs, LEAVES[0])
    assert verdict == Verdict(0, True, frozenset(f"s{block}" for block in range(BLOCKS) if lies[block]))


def test_claims_are_the_free_runs() -> None:
    book = PieceBook(SAMPLE.content)
    assert book.claim(0, range(1, 2), "s") == [range(1, 2)]
    assert book.claim(0, range(4), "s") == [range(1), range(2, 4)]
    assert book.claim(0, range(4), "s") == []
    book.release(0, [range(2, 4)])
    assert book.claim(0, range(1, 4), "s") == [range(2, 4)]
    assert book.claim(2, range(2), "s") == [range(2)]


def test_only_the_latest_failed_attempts_are_kept() -> None:
    book = PieceBook(SAMPLE.content)
    for attempt in range(FAILED_KEPT + 1):
        assert book.landed(0, book.claim(0, range(BLOCKS), f"liar {attempt}"), [WRONG] * BLOCKS)
    verdict = book.landed(0, book.claim(0, range(BLOCKS), "s"), LEAVES[0])
    assert verdict == Verdict(0, True, frozenset(f"liar {attempt}" for attempt in range(1, FAILED_KEPT + 1)))


def test_failed_attempts_of_so_many_pieces_are_kept() -> None:
    count = PIECES_REMEMBERED + 1
    sample = sample_file(noise(BLOCK) * count, piece_length=BLOCK)
    leaf = leaf_hashes(noise(BLOCK))
    book = PieceBook(sample.content)
    for piece in range(count):
        book.landed(piece, book.claim(piece, range(1), "liar"), [WRONG])
    blamed = [book.landed(piece, book.claim(piece, range(1), "s"), leaf) for piece in range(count)]
    assert blamed[0] == Verdict(0, True, frozenset())
    assert all(verdict == Verdict(piece, True, frozenset(["liar"])) for piece, verdict in enumerate(blamed) if piece)


def test_content_without_hashes_takes_what_comes() -> None:
    sample = sample_unknown(bytes(2 * BLOCK))
    book = PieceBook(sample.content)
    assert book.landed(0, book.claim(0, range(2), "s"), [WRONG, WRONG]) == Verdict(0, True, frozenset())
    assert book.complete


class BookMachine(RuleBasedStateMachine):
    """The book against plain sets: per block who gave it, and with which leaf."""

    def __init__(self) -> None:
        super().__init__()
        self.book = PieceBook(SAMPLE.content)
        self.claimed: list[tuple[int, list[range], str]] = []
        self.doomed: set[tuple[int, int]] = set()
        self.done: dict[int, dict[int, tuple[str, bytes]]] = {piece: {} for piece in range(3)}
        self.good: set[int] = set()
        self.failed: dict[int, list[dict[int, tuple[str, bytes]]]] = {piece: [] for piece in range(3)}
        self.untouched: set[int] = set()

    def busy(self, piece: int) -> dict[int, str]:
        """The blocks of a piece that are on their way to the disk, and whose they are."""
        return {block: who for where, held, who in self.claimed if where == piece for run in held for block in run}

    @rule(piece=st.integers(0, 2), blocks=st.tuples(st.integers(0, 4), st.integers(0, 4)), who=st.sampled_from("st"))
    def claim(self, piece: int, blocks: tuple[int, int], who: str) -> None:
        wanted = range(blocks[0], min(blocks[1], len(LEAVES[piece])))
        runs = self.book.claim(piece, wanted, who)
        self.untouched.discard(piece)
        taken = {block for run in runs for block in run}
        assert taken == (set() if piece in self.good else set(wanted) - set(self.busy(piece)) - set(self.done[piece]))
        if runs:
            self.claimed.append((piece, runs, who))

    @rule(which=st.integers(0, 20), lie=st.booleans())
    def land(self, which: int, lie: bool) -> None:
        if not self.claimed:
            return
        piece, runs, who = self.claimed.pop(which % len(self.claimed))
        blocks = [block for run in runs for block in run]
        leaves = [WRONG if lie else LEAVES[piece][block] for block in blocks]
        verdict = self.book.landed(piece, runs, leaves)
        for block, leaf in zip(blocks, leaves, strict=True):
            if (piece, block) in self.doomed:
                self.doomed.remove((piece, block))
            else:
                self.done[piece][block] = who, leaf
        given = self.done[piece]
        if len(given) < len(LEAVES[piece]):
            assert verdict is None
            return
        right = [given[block][1] for block in range(len(LEAVES[piece]))] == LEAVES[piece]
        assert verdict is not None
        assert verdict.good == right
        if right:
            self.good.add(piece)
            assert verdict.suspects == self.liars(piece)
            self.failed[piece] = []
        else:
            assert verdict.suspects == {who for who, _ in given.values()} - {""}
            self.failed[piece] = [*self.failed[piece], given][-FAILED_KEPT:]
            self.untouched.add(piece)
        self.done[piece] = {}

    def liars(self, piece: int) -> set[str]:
        """Who gave something wrong in the attempts that are remembered."""
        return {who for given in self.failed[piece] for who, leaf in given.values() if leaf == WRONG}

    @rule(piece=st.integers(0, 2))
    def examine(self, piece: int) -> None:
        found = self.book.examine(piece, LEAVES[piece])
        if piece not in self.untouched:
            assert found is None
            return
        assert found is not None
        last = self.failed[piece][-1]
        start, end = SAMPLE.content.layout.piece_start(piece), SAMPLE.content.layout.piece_end(piece)
        wrong = [block for block, (_, leaf) in last.items() if leaf == WRONG]
        assert {at for low, high in found.bad for at in range(low, high)} == {
            at for block in wrong for at in range(start + block * BLOCK, min(start + (block + 1) * BLOCK, end))
        }
        assert found.guilty == self.liars(piece)
        self.done[piece] = {block: ("", leaf) for block, (_, leaf) in last.items() if leaf != WRONG}
        self.failed[piece] = []
        self.untouched.discard(piece)

    @rule(which=st.integers(0, 20))
    def fail(self, which: int) -> None:
        if self.claimed:
            piece, runs, _ = self.claimed.pop(which % len(self.claimed))
            self.book.release(piece, runs)
            self.doomed -= {(piece, block) for run in runs for block in run}

    @rule(who=st.sampled_from("st"))
    def disown(self, who: str) -> None:
        expected: set[int] = set()
        for piece in range(3):
            busy = {block: giver for block, giver in self.busy(piece).items() if (piece, block) not in self.doomed}
            givers = busy | {block: giver for block, (giver, _) in self.done[piece].items()}
            if set(givers.values()) == {who} and len(givers) == len(LEAVES[piece]):
                continue  # It is judged all the same.
            mine = {block for block, giver in givers.items() if giver == who}
            self.doomed |= {(piece, block) for block in mine & set(busy)}
            self.done[piece] = {block: given for block, given in self.done[piece].items() if block not in mine}
            expected |= {SAMPLE.start(piece) // BLOCK + block for block in mine}
        runs = self.book.disown(who)
        assert [at for start, stop in runs for at in range(start // BLOCK, -(-stop // BLOCK))] == sorted(expected)
        assert all(start < stop <= SAMPLE.content.layout.end for start, stop in runs)

    @rule(piece=st.integers(0, 2))
    def forget(self, piece: int) -> None:
        assert self.book.forget(piece) == (piece in self.good)
        self.good.discard(piece)

    @rule(piece=st.integers(0, 2))
    def mark(self, piece: int) -> None:
        if not self.done[piece] and not self.busy(piece):
            self.book.mark(piece)
            self.good.add(piece)

    @invariant()
    def those_on_their_way_are_known(self) -> None:
        for who in "st":
            doomed = [block for piece in range(3) for block, giver in self.busy(piece).items() if giver == who]
            assert not self.book.awaited(who) or doomed
        assert any(map(self.book.awaited, "st")) == bool(self.doomed)

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
