"""Are pages served only where it is safe, and is what is wrong named?"""

from pathlib import Path

import pytest

from p2sp.ops.config import ConfigError, load_config
from p2sp.ops.pages.config import PagesConfig, check_pages, read_token

BASE = 'listen = "127.0.0.1:0"\nidentity = "i.pem"\nauthority = "ca.pem"\nstate = "state"\n'


def load(folder: Path, text: str) -> tuple[PagesConfig, Path]:
    (folder / "good.token").write_text("0123456789abcdef\nand more\n")
    (folder / "short.token").write_text("0123456789\n")
    (folder / "empty.token").write_text("")
    path = folder / "role.toml"
    path.write_text(BASE + text)
    config = load_config(path, PagesConfig)
    check_pages(config, path)
    return config, path


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("", None),
        ('pages = "127.0.0.1:9103"', None),
        ('pages = "[::1]:9103"', None),
        ('pages = "127.0.0.1:9103"\npages_token = "good.token"', "0123456789abcdef"),
        ('pages = "*:9103"\npages_token = "good.token"', "0123456789abcdef"),
        ('pages = "127.0.0.1:9103"\n[pages_links]\nmanager = "https://manager.example/"', None),
    ],
)
def test_good(tmp_path: Path, text: str, token: str | None) -> None:
    assert read_token(*load(tmp_path, text)) == token


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('pages = "*:9103"', "$.pages: '*:9103' is not a loopback address: others may look only with a `pages_token`"),
        ('pages = "192.0.2.1:9103"', "$.pages: '192.0.2.1:9103' is not a loopback address"),
        ('pages = "9103"', "$.pages: '9103' is not an address"),
        ('pages_token = "good.token"', "$.pages_token: is for `pages`"),
        ('pages = "*:1"\npages_token = "none.token"', "none.token: No such file"),
        ('pages = "*:1"\npages_token = "short.token"', "short.token: its first line must be a token of at least 16"),
        ('pages = "*:1"\npages_token = "empty.token"', "empty.token: its first line"),
        ('[pages_links]\nmanager = "javascript:alert(1)"', "$.pages_links.manager: 'javascript:alert(1)' is not a URL"),
    ],
)
def test_bad(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert complaint in str(caught.value)
