"""Are the files chosen that a user means?"""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.descriptor import Descriptor, FileEntry
from p2sp.resource.merkle import BLOCK
from p2sp.resource.selection import Selection, SelectionError, numbered
from p2sp.resource.verification import Content, described

NAMES = ["a.txt", "docs/b.txt", "docs/more/c.md", "d[1].bin", "e"]


def tree(lengths: list[int], *, joined: bool = True, pads: frozenset[int] = frozenset()) -> Content:
    """Files of these lengths, without any byte; `joined` as v1 has them."""
    count = -(-sum(lengths) // BLOCK)
    files = tuple(
        FileEntry((str(at),), length, b"r" * 32 if length and not joined else None, at in pads)
        for at, length in enumerate(lengths)
    )
    made = Descriptor(b"de", "tree", BLOCK, files, flat=(b"h" * 20,) * count if joined else ())
    return described(attrs.evolve(made, layers={b"r" * 32: ()}))


def named() -> Content:
    files = tuple(FileEntry(tuple(name.split("/")), 1, b"r" * 32) for name in NAMES)
    return described(Descriptor(b"de", "tree", BLOCK, files))


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["1"], ["a.txt"]),
        (["2-3", "5"], ["docs/b.txt", "docs/more/c.md", "e"]),
        (["4-"], ["d[1].bin", "e"]),
        (["*.txt"], ["a.txt", "docs/b.txt"]),
        (["docs/*"], ["docs/b.txt", "docs/more/c.md"]),
        (["c.md, 1"], ["a.txt", "docs/more/c.md"]),
        (["d[[]1].bin"], ["d[1].bin"]),
        (["1-5"], NAMES),
    ],
)
def test_what_is_meant(texts: list[str], names: list[str]) -> None:
    content = Selection.parse(texts).of(named())
    assert content.selected is not None
    assert ["/".join(content.paths[file]) for file in sorted(content.selected)] == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0", "counted from 1"),
        ("3-2", "counted from 1"),
        ("6", "has files 1 to 5, not 6"),
        ("2-9", "has files 1 to 5, not 9"),
        ("9-", "has files 1 to 5, not 9"),
        ("*.iso", "has no file '[*].iso'"),
        ("A.TXT", "has no file 'A.TXT'"),
        ("1,,2", "empty"),
        ("", "empty"),
        (",".join("1" * 1001), "more than 1000"),
    ],
)
def test_what_nothing_answers_to(text: str, sentence: str) -> None:
    with pytest.raises(SelectionError, match=sentence):
        Selection.parse([text]).of(named())


def test_padding_has_no_number() -> None:
    content = tree([1, BLOCK - 1, 5], pads=frozenset({1}))
    assert numbered(content) == [(1, 0), (2, 2)]
    assert Selection.parse(["2"]).of(content).selected == frozenset({2})
    assert not content.keeps(1)


def test_a_selection_is_written_as_it_is_read() -> None:
    assert str(Selection.parse(["1, 3-4", "7-", "*.txt"])) == "1,3-4,7-,*.txt"


@given(st.lists(st.integers(0, 3 * BLOCK), min_size=1, max_size=6), st.booleans(), st.data())
def test_a_piece_is_wanted_when_a_wanted_file_is_in_it(lengths: list[int], joined: bool, data: st.DataObject) -> None:
    content = tree([*lengths, 1], joined=joined)
    chosen = data.draw(st.sets(st.integers(1, len(lengths) + 1), min_size=1))
    content = Selection.parse([",".join(map(str, chosen))]).of(content)
    layout = content.layout
    for piece in range(layout.piece_count):
        assert (piece in content.unwanted) == all(file + 1 not in chosen for file in layout.files_of(piece))
    wanted = set(range(layout.piece_count)) - content.unwanted
    assert content.length == sum(map(layout.piece_size, wanted))
