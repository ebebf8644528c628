"""Is what was begun remembered until it is done, by several programs at once, and never too much of it?"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from p2sp.cli.outcome import UserError
from p2sp.cli.unfinished import MAX_ENTRIES, Entry, Unfinished


def entry(number: int, target: str = "http://h/x") -> Entry:
    return Entry(target=target, path=f"/p/{number}")


def test_noted_and_crossed_out(tmp_path: Path) -> None:
    book = Unfinished(tmp_path / "a" / "b" / "unfinished.json")
    assert book.read() == []
    book.done("/p/1")
    assert not book.path.exists(), "nothing to write"
    book.note(entry(1))
    book.note(entry(2))
    book.note(entry(1, "http://h/y"))
    assert book.read() == [entry(2), entry(1, "http://h/y")], "one for each path, the latest last"
    assert book.path.stat().st_mode & 0o777 == 0o600
    book.done("/p/2")
    assert book.read() == [entry(1, "http://h/y")]
    assert book.clear() == book.read() == []


def test_bounded(tmp_path: Path) -> None:
    book = Unfinished(tmp_path / "u.json")
    for number in range(MAX_ENTRIES + 3):
        book.note(entry(number))
    assert [each.path for each in book.read()] == [f"/p/{number}" for number in range(3, MAX_ENTRIES + 3)]


def test_many_at_once(tmp_path: Path) -> None:
    book = Unfinished(tmp_path / "u.json")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: book.note(entry(number)), range(64)))
        list(pool.map(lambda number: book.done(f"/p/{number}"), range(0, 64, 2)))
    assert sorted(each.path for each in book.read()) == sorted(f"/p/{number}" for number in range(1, 64, 2))


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"format": 1, "downloads": [{"target": 3}]}', b"\xff" * 9])
def test_garbled(data: bytes, tmp_path: Path) -> None:
    book = Unfinished(tmp_path / "u.json")
    book.path.write_bytes(data)
    for use in (book.read, lambda: book.note(entry(1)), lambda: book.done("/p/1")):
        with pytest.raises(UserError, match=r"u\.json: not a list of downloads .* remove it"):
            use()
    assert book.path.read_bytes() == data, "whatever it is, it is not ours to throw away"
    book.clear()
    book.note(entry(1))
    assert book.read() == [entry(1)]


def test_emptied_by_a_power_cut(tmp_path: Path) -> None:
    book = Unfinished(tmp_path / "u.json")
    book.path.touch()
    book.note(entry(1))
    assert book.read() == [entry(1)]


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    book = Unfinished(tmp_path / "file" / "u.json")
    with pytest.raises(UserError, match=r"u\.json: "):
        book.note(entry(1))
