"""Are URLs that mean the same seen to be the same, and bad ones refused by name?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.index.urls import MAX_URL, UrlError, normal_url, target_of


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://m.example/a", "http://m.example/a"),
        ("HTTP://M.Example/A", "http://m.example/A"),
        ("http://m.example:80/a", "http://m.example/a"),
        ("https://m.example:443/a", "https://m.example/a"),
        ("https://m.example:80/a", "https://m.example:80/a"),
        ("http://m.example", "http://m.example/"),
        ("http://m.example?x=1", "http://m.example/?x=1"),
        ("http://m.example/a#frag", "http://m.example/a"),
        ("http://m.example/a?b=c#frag", "http://m.example/a?b=c"),
        ("http://m.example/a?", "http://m.example/a"),
        ("http://[2001:DB8::1]:8080/a", "http://[2001:db8::1]:8080/a"),
        ("http://192.0.2.1:9000/a", "http://192.0.2.1:9000/a"),
        ("http://m.example/%7eme/%2f%e4", "http://m.example/~me/%2F%E4"),
        ("http://m.example/größe", "http://m.example/gr%C3%B6%C3%9Fe"),
        ("http://bücher.example/a", "http://xn--bcher-kva.example/a"),
        ("http://m.example/a%zz", "http://m.example/a%zz"),
        ("http://m.example/a;b=1,2+3", "http://m.example/a;b=1,2+3"),
    ],
)
def test_one_spelling(url: str, normal: str) -> None:
    assert normal_url(url) == normal
    assert normal_url(normal) == normal


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("ftp://m.example/a", "not an http or https URL: 'ftp://m.example/a'"),
        ("m.example/a", "not an http or https URL"),
        ("", "not an http or https URL"),
        ("http:///a", "without a host"),
        ("http://:80/a", "without a host"),
        ("http://m.example:port/a", "not a URL"),
        ("http://m.example:99999/a", "not a URL"),
        ("http://[::1/a", "not a URL"),
        ("http://m.example/a b", "with a space"),
        ("http://m.example/a\nb", "with a space, a backslash or a control character"),
        ("http://m.example\\@evil.example/", "backslash"),
        ("http://user:secret@m.example/a", "with credentials in it, for host 'm.example'"),
        ("http://@m.example/a", "with credentials"),
        ("http://m.example/" + "a" * MAX_URL, f"longer than {MAX_URL}"),
        ("http://m.example/" + "ö" * (MAX_URL // 2), "once it is escaped"),
        ("http://\u2028.example/", "host that cannot be"),
    ],
)
def test_refused(url: str, complaint: str) -> None:
    with pytest.raises(UrlError, match=r".") as caught:
        normal_url(url)
    assert complaint in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_normal_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"https://m.example/{text}", f"http://m.example/?{text}"):
        try:
            normal = normal_url(url)
        except UrlError:
            continue
        assert normal_url(normal) == normal
        assert normal.isascii()


def test_a_folder_holds_the_name() -> None:
    assert target_of("http://m.example/pub/", "a b/ü.iso") == "http://m.example/pub/a%20b%2F%C3%BC.iso"
    assert target_of("http://m.example", "x~y") == "http://m.example/x~y"
    assert target_of("http://m.example/file", "x") == "http://m.example/file"
    assert target_of("http://m.example/get?f=/", "x") == "http://m.example/get?f=/x"
