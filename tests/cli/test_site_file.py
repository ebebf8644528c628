"""Is a network's `site.toml` read whole, or refused by name?"""

from pathlib import Path

import pytest

from p2sp.cli.site_file import load_site
from p2sp.net.authority import Authority
from p2sp.net.errors import BadIdentity
from p2sp.net.identity import save_identity
from p2sp.ops.config import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority = Authority.create("test network")
    authority.save(tmp_path / "pki")
    save_identity(authority.issue("publisher", [], "publisher"), tmp_path / "pki" / "publisher.pem")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text)
    return path


def test_a_site_by_file_and_by_folder(folder: Path) -> None:
    path = write(
        folder,
        'authority = "pki/ca.pem"\nindex = "https://127.0.0.1:1"\ntrackers = ["https://127.0.0.1:2"]\n'
        'publisher = "pki/publisher.pem"\n',
    )
    for given in (path, folder):
        site = load_site(given)
        assert (site.path, site.file.index, site.file.trackers) == (
            path,
            "https://127.0.0.1:1",
            ["https://127.0.0.1:2"],
        )
        assert len(site.trust.authorities) == 1
        assert site.publisher() is not None


def test_a_site_that_cannot_publish(folder: Path) -> None:
    assert load_site(write(folder, 'authority = "pki/ca.pem"')).publisher() is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "authority is required"),
        ('authority = "pki/ca.pem"\ntracker = "x"', "tracker is not a setting"),
        ("authority = 3", "authority"),
        ('authority = "pki/ca.pem"\ntrackers = "https://h"', "trackers"),
        ("authority =", "site.toml"),
        ("\0", "site.toml"),
    ],
)
def test_what_is_no_site(text: str, words: str, folder: Path) -> None:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        load_site(folder)
    for name in ("missing.pem", "site.toml"):
        with pytest.raises(BadIdentity, match=name):
            load_site(write(folder, f'authority = "{name}"'))
    site = load_site(write(folder, 'authority = "pki/ca.pem"\npublisher = "pki/ca.pem"'))
    with pytest.raises(BadIdentity, match=r"ca\.pem"):
        site.publisher()
