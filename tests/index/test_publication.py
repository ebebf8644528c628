"""Is a publication examined to the last hash before anybody is told of it?"""

import attrs
import pytest
from bencode2 import bdecode, bencode

from p2sp.index import publication
from p2sp.index.publication import MAX_MIRRORS, PublicationError, examine, with_mirrors
from p2sp.index.schema import PublishRequest
from p2sp.index.urls import UrlError
from p2sp.resource.descriptor import parse_torrent
from p2sp.resource.errors import DescriptorError
from tests.index.resources import single_file, tree

LONE = single_file("file.iso", 700_000)


def test_the_torrent_given_out_is_the_one_published() -> None:
    stored = examine(PublishRequest(LONE.to_torrent(["http://tracker.example/"], ["http://m.example/f"])))
    assert stored.torrent == LONE.to_torrent()
    mirrors = [mirror.url for mirror in stored.mirrors]
    given_out = with_mirrors(stored.torrent, mirrors)
    assert given_out == LONE.to_torrent(mirrors=mirrors)
    torrent = parse_torrent(given_out)
    assert (torrent.descriptor, torrent.mirrors) == (LONE, ("http://m.example/f",))
    assert with_mirrors(stored.torrent, []) == LONE.to_torrent()


def test_missing_layers_are_named() -> None:
    bare = attrs.evolve(LONE, layers={})
    with pytest.raises(PublicationError, match=r"no piece layer for 'file.iso'"):
        examine(PublishRequest(bare.to_torrent()))


def test_false_layers_are_named() -> None:
    top = bdecode(LONE.to_torrent())
    (root,) = top[b"piece layers"]
    top[b"piece layers"][root] = bytes(len(top[b"piece layers"][root]))
    with pytest.raises(DescriptorError, match=r"'file.iso' does not lead to its pieces root"):
        examine(PublishRequest(bencode(top)))


def test_a_digest_belongs_to_a_lone_file() -> None:
    assert examine(PublishRequest(LONE.to_torrent(), sha256="1" * 64)).sha256 == "1" * 64
    with pytest.raises(PublicationError, match="tree"):
        examine(PublishRequest(tree("set", [5, 6]).to_torrent(), sha256="1" * 64))


def test_mirrors_of_request_and_torrent() -> None:
    seeds = ["http://user:secret@m.example/x", "http://m.example/b", "http://m.example/ c"]
    request = PublishRequest(LONE.to_torrent(mirrors=seeds), ["http://m.example/a", "http://M.example/a"])
    assert [mirror.url for mirror in examine(request).mirrors] == ["http://m.example/a", "http://m.example/b"]
    with pytest.raises(UrlError, match="credentials"):
        examine(PublishRequest(LONE.to_torrent(), ["http://user:secret@m.example/x"]))


def test_a_torrents_own_seeds_stop_at_the_limit() -> None:
    seeds = [f"http://m{at}.example/s" for at in range(50)]
    stated = [f"http://m{at}.example/f" for at in range(90)]
    assert len(examine(PublishRequest(LONE.to_torrent(mirrors=seeds), stated)).mirrors) == MAX_MIRRORS


def test_a_torrent_without_room_for_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "MAX_TORRENT", publication._ROOM_FOR_URLS + 100)
    with pytest.raises(PublicationError, match="100 are allowed"):
        examine(PublishRequest(LONE.to_torrent()))
