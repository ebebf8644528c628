"""Is what servers did remembered for a day, in bounds, and without harm when the file is not what it was?"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.download.server_memory import DAY, MAX_SERVERS, ServerMemory, default_path, key_of, load, save

NOW = 1_700_000_000.0
FAST, SLOW, NEW, BAD = (f"https://{name}.example/x" for name in ("fast", "slow", "new", "bad"))


def memory() -> ServerMemory:
    """Three servers that were asked before."""
    known = ServerMemory()
    known.note(FAST, count=10_000_000, seconds=1.0, errors=0, ranges=True, now=NOW)
    known.note(SLOW, count=1_000_000, seconds=1.0, errors=0, ranges=True, now=NOW)
    known.note(BAD, count=10_000_000, seconds=0.1, errors=3, ranges=None, now=NOW)
    return known


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("HTTP://User:secret@A.Example/path?token=1", "http://a.example:80"),
        ("https://a.example:8443/", "https://a.example:8443"),
        ("https://[::1]/", "https://[::1]:443"),
    ],
)
def test_a_server_is_its_scheme_name_and_port(url: str, key: str) -> None:
    assert key_of(url) == key


def test_rates_are_weighed_and_forgotten_after_a_day() -> None:
    known = memory()
    assert known.rate(FAST, NOW) == 10e6
    assert known.rate(NEW, NOW) == 0.0
    assert known.rate(BAD, NOW) == 0.0
    known.note(FAST, count=5_000_000, seconds=1.0, errors=0, ranges=None, now=NOW + 10)
    assert known.rate(FAST, NOW + 10) == pytest.approx(9e6)
    known.note(FAST, count=100, seconds=10.0, errors=0, ranges=None, now=NOW + 20)
    assert known.rate(FAST, NOW + 20) == pytest.approx(9e6), "a few bytes tell no rate"
    assert known.rate(FAST, NOW + 20 + DAY) == 0.0


def test_who_ignored_ranges_is_remembered_until_it_serves_one() -> None:
    known = memory()
    assert not known.ignores_ranges(FAST, NOW)
    assert not known.ignores_ranges(NEW, NOW)
    known.note(FAST, count=1, seconds=1.0, errors=0, ranges=False, now=NOW)
    assert known.ignores_ranges(FAST, NOW)
    known.note(FAST, count=1, seconds=1.0, errors=0, ranges=None, now=NOW + 1)
    assert known.ignores_ranges(FAST, NOW + 1)
    assert not known.ignores_ranges(FAST, NOW + 1 + DAY)
    known.note(FAST, count=1, seconds=1.0, errors=0, ranges=True, now=NOW + 2)
    assert not known.ignores_ranges(FAST, NOW + 2)


def test_the_fastest_come_first_and_those_that_failed_last() -> None:
    assert memory().order([BAD, NEW, SLOW, FAST], NOW) == [FAST, SLOW, NEW, BAD]
    assert memory().order([BAD, NEW, SLOW, FAST], NOW + DAY) == [BAD, NEW, SLOW, FAST]


def test_it_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "state" / "servers.json"
    save(path, memory(), NOW + 1)
    assert load(path).order([BAD, NEW, SLOW, FAST], NOW) == [FAST, SLOW, NEW, BAD]
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    save(path, memory(), NOW + DAY)
    assert load(path).dump(NOW) == ServerMemory().dump(NOW)


def test_only_so_many_are_kept() -> None:
    known = ServerMemory()
    for number in range(MAX_SERVERS + 10):
        known.note(f"http://{number}.example/", count=10**6, seconds=1.0, errors=0, ranges=None, now=NOW + number)
    assert known.rate("http://9.example/", NOW + 1000) == 0.0
    assert known.rate("http://10.example/", NOW + 1000) == 1e6
    assert ServerMemory.parse(known.dump(NOW + 1000)).rate("http://10.example/", NOW + 1000) == 1e6


@given(st.binary())
def test_a_damaged_file_is_no_memory(data: bytes) -> None:
    assert ServerMemory.parse(data).rate(FAST, NOW) == 0.0


def test_a_place_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    save(tmp_path / "file" / "servers.json", memory(), NOW)
    assert load(tmp_path / "file" / "servers.json").rate(FAST, NOW) == 0.0


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_path() == Path("/state/p2sp/servers.json")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_path() == Path("/home/somebody/.local/state/p2sp/servers.json")
