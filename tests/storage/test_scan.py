"""Is a file or folder described as it is, or refused by name?"""

import os
from hashlib import sha256
from pathlib import Path

import libtorrent
import pytest
from bencode2 import bencode
from twisted.internet.defer import Deferred

from p2sp.resource.errors import DescriptorError
from p2sp.resource.layout import MIN_PIECE
from p2sp.resource.merkle import BLOCK
from p2sp.resource.verification import described
from p2sp.storage import scan as rules
from p2sp.storage.interfaces import StorageError
from p2sp.storage.pool import InlinePool
from p2sp.storage.scan import Scan, describe
from tests.storage.kit import Kit, noise, now


def scanned(path: Path) -> Scan:
    return now(describe(path, InlinePool()))


def their_info(path: Path) -> bytes:
    made = libtorrent.create_torrent(libtorrent.list_files(str(path)), MIN_PIECE, libtorrent.create_torrent.v2_only)
    libtorrent.set_piece_hashes(made, str(path.parent))
    return bencode(made.generate()[b"info"])


@pytest.mark.parametrize("length", [1, BLOCK + 1, MIN_PIECE, 4 * MIN_PIECE, 17 * MIN_PIECE + 5])
def test_a_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "ä file.bin"
    path.write_bytes(noise(length))
    found = scanned(path)
    assert found.descriptor.info == their_info(path)
    assert found.descriptor.single
    assert not found.descriptor.missing_layers
    assert found.sha256 == sha256(noise(length)).digest()


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    found = scanned(path)
    assert found.descriptor.resource_id.hex() == "c42f6710fa66743936d0a94ab12219596419235b2e81059ea421c6bf3874c72b"
    assert found.sha256 == sha256().digest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    for where, data in {
        ".hidden": noise(3),
        "a-b": noise(BLOCK, 1),
        "a/b/c": noise(2 * MIN_PIECE + 1, 2),
        "a.b": b"",
        "é": noise(7, 3),
        "Z": noise(8, 4),
    }.items():
        path = top / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top


def test_a_folder(folder: Path) -> None:
    found = scanned(folder)
    assert found.descriptor.info == their_info(folder)
    assert found.sha256 is None
    assert ["/".join(entry.path) for entry in found.descriptor.files] == [".hidden", "Z", "a/b/c", "a-b", "a.b", "é"]
    assert Kit(folder).complete(described(found.descriptor), folder).complete


def test_the_folder_one_stands_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = scanned(folder).descriptor
    monkeypatch.chdir(folder)
    assert scanned(Path()).descriptor == named
    monkeypatch.chdir(folder / "a")
    assert scanned(Path("..")).descriptor == named


def test_progress_is_told_to_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_RUN", MIN_PIECE)
    seen: list[tuple[int, int]] = []
    now(describe(folder, InlinePool(), lambda done, total: seen.append((done, total))))
    total = 2 * MIN_PIECE + 1 + BLOCK + 3 + 7 + 8
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) == 7, "four small files, and the long one in three runs"


def test_what_cannot_be_part_of_a_resource_is_named(folder: Path) -> None:
    (folder / "a" / "link").symlink_to("b")
    with pytest.raises(StorageError, match=r"a/link: is a symbolic link"):
        scanned(folder)
    (folder / "a" / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(StorageError, match=r"pipe: is neither"):
        scanned(folder)
    (folder / "pipe").unlink()
    (folder / "a" / "void").mkdir()
    with pytest.raises(StorageError, match=r"a/void: an empty folder"):
        scanned(folder)
    for path, sentence in ((folder / "a" / "void", "an empty folder"), (folder / "nothing", "No such file")):
        with pytest.raises(StorageError, match=sentence):
            scanned(path)
    link = folder.with_name("link")
    link.symlink_to(folder / "Z")
    with pytest.raises(StorageError, match="link: is a symbolic link"):
        scanned(link)


@pytest.mark.parametrize("name", [b"a\\b", b"a\nb", b"\xff"])
def test_names_that_others_cannot_write_are_refused(folder: Path, name: bytes) -> None:
    with open(os.fsencode(folder) + b"/" + name, "wb"):
        pass
    with pytest.raises(DescriptorError, match="file name"):
        scanned(folder)


def test_limits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(rules, "MAX_DEPTH", 1)
        with pytest.raises(StorageError, match=r"a/b: deeper than 1 folders"):
            scanned(folder)
    monkeypatch.setattr(rules, "MAX_FILES", 5)
    with pytest.raises(StorageError, match="more than 5 files"):
        scanned(folder)


@pytest.mark.parametrize("change", ["longer", "shorter", "other", "gone"])
def test_a_file_that_changes_meanwhile_is_named(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(noise(100))
    os.utime(path, ns=(1, 1))
    pool = InlinePool()
    pool.held = True
    scanning = Deferred.fromCoroutine(describe(path, pool))
    pool.release(1)
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes({"longer": noise(101), "shorter": noise(99), "other": noise(100, 1)}[change])
    pool.held = False
    pool.release()
    with pytest.raises(StorageError, match=r"file: (has changed|No such)"):
        now(scanning)
