"""Is a file looked for at a mirror where BEP 19 says it is?"""

import pytest

from p2sp.resource.web_seed import file_url
from tests.supernode.support import content_of

FILE = content_of("a b.iso", {("a b.iso",): b"x"})
TREE = content_of("t", {("x y", "z?.bin"): b"x"})


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        ("https://m.example/a.iso", "https://m.example/a.iso"),
        ("https://m.example/d/", "https://m.example/d/a%20b.iso"),
    ],
)
def test_a_lone_file(mirror: str, url: str) -> None:
    assert file_url(mirror, FILE, 0) == url


@pytest.mark.parametrize("mirror", ["https://m.example/d", "https://m.example/d/"])
def test_a_tree(mirror: str) -> None:
    assert file_url(mirror, TREE, 0) == "https://m.example/d/t/x%20y/z%3F.bin"
