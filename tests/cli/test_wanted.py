"""Are the words of `p2sp get` understood, and refused with a sentence that shows no secret?"""

from pathlib import Path
from typing import Any

import pytest

from p2sp.cli.outcome import UserError
from p2sp.cli.targets import UrlTarget
from p2sp.cli.unfinished import Entry, Unfinished
from p2sp.cli.wanted import MAX_TARGETS, read_list, read_wishes
from p2sp.net.proxy import Proxy

HEX = "a" * 64


def wishes(*texts: str, environment: dict[str, str] | None = None, **given: Any) -> Any:
    return read_wishes(texts, environment=environment or {"HOME": "/nowhere"}, **given)


def test_options_reach_every_wish() -> None:
    first, second = wishes(
        "http://a/x",
        "https://b:444/y",
        jobs=5,
        on_complete="run 'this one'",
        proxy="p:1",
        headers=("X: y",),
        keep_time=False,
    )
    assert (first.text, first.target) == ("http://a/x", UrlTarget("http://a/x"))
    assert first.options == second.options
    assert first.options.on_complete == ("run", "this one")
    assert first.options.on_error == ()
    assert (first.options.jobs, first.options.keep_time, first.options.streaming) == (5, False, False)
    assert first.options.proxy.http == Proxy("p", 1)
    assert first.options.credentials.origins == {("http", "a", 80), ("https", "b", 444)}
    assert first.options.credentials.headers == (("X", "y"),)


def test_mirrors_are_named_too() -> None:
    [wish] = wishes("http://a/x", mirrors=("http://b/x",), checksum=f"sha-256={HEX}", output="-")
    assert wish.options.credentials.origins == {("http", "a", 80), ("http", "b", 80)}
    assert wish.options.streaming


def test_resume_all(tmp_path: Path) -> None:
    book = Unfinished(tmp_path / "p2sp" / "u.json")
    book.note(Entry(target="http://a/x", path="/there/x", mirrors=["http://b/x"], checksum=f"sha-256={HEX}"))
    book.note(Entry(target="http://a/y", path="/there/y", in_order=True))
    again, other = wishes("http://a/y", resume_all=True, book=book, fresh=True, rename=True)[::-1]
    assert (other.text, other.options.output, other.options.rename) == ("http://a/y", None, True)
    assert (again.text, again.options.output) == ("http://a/x", "/there/x")
    assert (again.options.mirrors, again.options.checksum) == (("http://b/x",), ("sha-256", HEX))
    assert (again.options.fresh, again.options.rename) == (True, False)
    assert ("http", "b", 80) in other.options.credentials.origins
    assert wishes(resume_all=True, book=Unfinished(tmp_path / "none")) == []
    (tmp_path / "z").touch()
    book.note(Entry(target="http://a/z", path=str(tmp_path / "z")))
    assert [each.text for each in wishes(resume_all=True, book=book)] == ["http://a/x", "http://a/y"]
    assert "http://a/z" not in {each.target for each in book.read()}, "it is there"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"headers": ("secret",)}, "--header: a header is written 'Name: value'"),
        ({"headers": ("Range: secret",)}, "--header: the header Range is set by the download itself"),
        ({"headers": ("X: y",) * 65}, "--header: more than 64"),
        ({"user": "secret"}, "--user: it is written NAME:PASSWORD"),
        ({"referer": "a\r\nb: secret"}, "--referer: "),
        ({"user_agent": "a\nb"}, "--user-agent: "),
        ({"cookies": Path("missing")}, "--cookies: missing: No such file"),
        ({"proxy": "socks5://me:secret@h:1"}, "--proxy: h:1: only http://"),
        ({"on_complete": "'"}, "--on-complete ': "),
        ({"on_error": " "}, "--on-error: it names no program"),
        ({"output": "-", "seed": 1.0}, "-o - goes with none of"),
        ({"output": "-", "resume_all": True}, "-o - goes with none of"),
        ({"rename": True, "overwrite": True}, "exclude each other"),
        ({"environment": {"http_proxy": "ftp://h"}}, "http_proxy: ftp://h: only http://"),
        ({"environment": {"NETRC": "missing"}}, "passwords (--no-netrc leaves them out): missing: No such file"),
    ],
)
def test_refusals(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        wishes("http://a/x", **given)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.code == 28


def test_list(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes("\ufeff# comment\r\nhttp://a/x#part\r\n\r\n  http://b/é  ".encode())
    assert read_list(str(path)) == ["http://a/x#part", "http://b/é"]
    for data, words in ((b"\xff", "not text in UTF-8"), (b"x\n" * (MAX_TARGETS + 1), "more than 10000 lines")):
        path.write_bytes(data)
        with pytest.raises(UserError, match=words):
            read_list(str(path))
    with pytest.raises(UserError, match="Is a directory"):
        read_list(str(tmp_path))


def test_files_of_a_folder_are_picked() -> None:
    (wish,) = wishes("http://a/x.torrent", select=("1-2", "*.txt"))
    assert str(wish.options.select) == "1-2,*.txt"
    (plain,) = wishes("http://a/x.torrent", select=())
    assert plain.options.select is None


@pytest.mark.parametrize("text", ["0", "3-1", "1,,2"])
def test_a_choice_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UserError, match=f"--select {text}: "):
        wishes("http://a/x.torrent", select=(text,))


def test_what_was_picked_is_taken_up_again(tmp_path: Path) -> None:
    book = Unfinished(tmp_path / "book.json")
    book.note(Entry(target="http://a/x.torrent", path="/there/x", select="2,*.txt"))
    book.note(Entry(target="http://a/y.torrent", path="/there/y"))
    taken, other = wishes(resume_all=True, book=book, select=("7",))
    assert str(taken.options.select) == "2,*.txt"
    assert str(other.options.select) == "7"
