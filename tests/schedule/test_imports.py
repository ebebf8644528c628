"""Do nodes that never speak about it agree who brings which piece, and does nobody's failure stop the others?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.schedule.bits import each, run
from p2sp.schedule.imports import DESPAIR, HELP, SLACK, WIDTH, Roster

PIECES = 64
ALL = run(0, PIECES)
NODES = [f"{number:064x}" for number in range(8)]


def rosters(count: int = 8, pieces: int = PIECES, temper: float = 0.0) -> dict[str, Roster]:
    """A group in which everybody knows everybody."""
    made = {node: Roster(node, b"resource", pieces, temper=temper) for node in NODES[:count]}
    for node, roster in made.items():
        for other in NODES[:count]:
            if other != node:
                roster.join(other, 0.0)
    return made


@given(st.permutations(NODES), st.integers(1, 8))
def test_everybody_makes_out_the_same_bringers_whoever_came_first(order: list[str], count: int) -> None:
    shares = []
    for me in order[:count]:
        roster = Roster(me, b"resource", PIECES, temper=0.5)
        for other in order[:count]:
            if other != me:
                roster.join(other, 0.0)
        shares.append(roster.mine(ALL))
    assert sum(shares) == ALL
    assert sum(share.bit_count() for share in shares) == PIECES


def test_shares_are_about_equal() -> None:
    shares = [roster.mine(run(0, 1024)).bit_count() for roster in rosters(pieces=1024).values()]
    assert sum(shares) == 1024
    assert min(shares) > 90
    assert max(shares) < 170


@given(st.sampled_from(NODES), st.sampled_from(NODES))
def test_who_leaves_changes_the_bringers_of_its_share_alone(me: str, leaver: str) -> None:
    everybody = rosters()
    before = {node: roster.mine(ALL) for node, roster in everybody.items()}
    for roster in everybody.values():
        roster.leave(leaver)
    after = {node: roster.mine(ALL) for node, roster in everybody.items() if node != leaver}
    assert all(before[node] & ~share == 0 for node, share in after.items())
    assert sum(share.bit_count() for share in after.values()) == PIECES
    everybody[me].join(leaver, 1.0)
    assert everybody[me].mine(ALL) == before[me]


@pytest.mark.parametrize("extra", [1, WIDTH, WIDTH + 5])
def test_what_lies_beyond_the_width_is_divided_as_well(extra: int) -> None:
    everything = run(0, WIDTH + extra)
    shares = [roster.mine(everything) for roster in rosters(2, WIDTH + extra).values()]
    assert shares[0] ^ shares[1] == everything


def test_who_has_something_left_to_bring_helps_nobody() -> None:
    for roster in rosters().values():
        assert roster.help(ALL, 1.0, 1000.0) == 0


def test_of_those_who_are_through_one_helps_who_is_late() -> None:
    everybody = rosters()
    late = NODES[0]
    undone = everybody[late].mine(ALL)
    for roster in everybody.values():
        roster.arrived(ALL & ~undone, 8.0)
    # Eight pieces each in eight seconds: a second for a piece, and the late one has brought nothing.
    enough = HELP * 1.0 + SLACK
    others = [roster for node, roster in everybody.items() if node != late]
    soon = enough / undone.bit_count()
    assert not any(roster.help(undone, 1.5, soon) for roster in others)
    helped = [roster.help(undone, 0.0, soon + 1.0) for roster in others]
    assert sum(share.bit_count() for share in helped) == undone.bit_count()
    union = 0
    for share in helped:
        union |= share
    assert union == undone


def test_in_the_end_anybody_may_bring_anything() -> None:
    everybody = rosters(temper=1.0)
    late = NODES[0]
    undone = everybody[late].mine(ALL)
    roster = everybody[NODES[1]]
    roster.arrived(ALL & ~undone, 1.0)
    last = 1 << next(each(undone))
    waited = (1.0 + 1.0) * DESPAIR * (HELP * 1.0 + SLACK)
    assert roster.help(last, 1.0, waited + 1.0) == last


def test_bringer_and_helper_begin_at_different_ends() -> None:
    everybody = rosters()
    bringer, helper = everybody[NODES[0]], everybody[NODES[1]]
    order = []
    left = bringer.mine(ALL)
    while left:
        piece = bringer.next(left)
        order.append(piece)
        left ^= piece
    assert helper.last(sum(order)) == order[-1]
    assert helper.last(sum(order[:-1])) == order[-2]


def test_nobody_else_is_nobody_to_wait_for() -> None:
    roster = Roster(NODES[0], b"resource", PIECES, temper=0.0)
    assert roster.mine(ALL) == ALL
    roster.leave(NODES[0])
    roster.leave("unknown")
    assert roster.mine(ALL) == ALL
