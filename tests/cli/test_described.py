"""Is what is expected of a file put together from all who said something?"""

from random import Random

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from p2sp.cli.described import MAX_DUPLICATES, check_agrees, content_of, expected, follow_links, join, shown
from p2sp.cli.job import Job
from p2sp.cli.outcome import UserError
from p2sp.download.node import Node
from p2sp.download.report import Report
from p2sp.net.identity import create_identity
from p2sp.resource.metalink import MetalinkFile
from p2sp.resource.verification import undescribed
from p2sp.sources.http_facts import Version
from p2sp.sources.http_meaning import Link
from p2sp.sources.http_probe import Probe

S1, S256, S512 = b"1" * 20, b"2" * 32, b"5" * 64


@pytest.mark.parametrize(
    ("checksum", "digests", "wanted"),
    [
        (None, {}, []),
        (("sha-256", S256.hex()), {}, [("sha256", S256.hex())]),
        (None, {"sha1": S1, "sha256": S256}, [("sha256", S256.hex())]),
        (("sha-256", S256.hex()), {"sha256": S256}, [("sha256", S256.hex())]),
        (("md5", "00"), {"sha512": S512, "sha1": S1}, [("md5", "00"), ("sha512", S512.hex())]),
    ],
)
def test_what_is_expected(
    checksum: tuple[str, str] | None, digests: dict[str, bytes], wanted: list[tuple[str, str]]
) -> None:
    assert expected(checksum, undescribed("k", "n", 5, digests)) == wanted


def test_names_of_digests() -> None:
    assert [shown(name) for name in ("sha256", "sha1", "md5", "sha3_256")] == ["sha-256", "sha-1", "md5", "sha3_256"]


def test_a_metalink_that_contradicts_the_user() -> None:
    file = MetalinkFile("x", 5, {"sha256": S256})
    check_agrees(file, None)
    check_agrees(file, ("md5", "00"))
    check_agrees(file, ("sha-256", S256.hex()))
    with pytest.raises(UserError, match="by the Metalink") as caught:
        check_agrees(file, ("sha-256", "00" * 32))
    assert caught.value.code == 32


def test_a_download_is_known_again_by_its_digest() -> None:
    assert content_of(MetalinkFile("x", 5, {"md5": b"m" * 16, "sha256": S256}), 5).key == f"sha256:{S256.hex()}"
    assert content_of(MetalinkFile("x", 5, urls=("http://h/x",)), 5).key == "http://h/x"
    assert content_of(MetalinkFile("x", 5), 5).key == "x"


class LinkTests(SynchronousTestCase):
    """What becomes of the duplicates in an answer."""

    def follow(self, url: str, links: tuple[Link, ...], digests: dict[str, bytes]) -> tuple[list[str], list[str]]:
        node = Node(MemoryReactorClock(), create_identity(), rng=Random(1))
        told: list[str] = []
        lane = node.connect.lane(url)
        found = Probe(url, "x", 5, Version(), True, "", lane, digests, links)
        job = Job(mirrors=[url])
        work = follow_links(node, found, job, Report(0.0, listener=told.append), None)
        self.successResultOf(Deferred.fromCoroutine(work))
        return job.mirrors, told

    def test_over_https_they_are_mirrors(self) -> None:
        links = (Link("http://b/x", "duplicate"), Link("https://h/x", "duplicate"), Link("http://b/x", "duplicate"))
        self.assertEqual(self.follow("https://h/x", links, {}), (["https://h/x", "http://b/x"], []))

    def test_over_http_only_with_a_digest(self) -> None:
        links = (Link("http://b/x", "duplicate", "", 1), Link("http://b/about", "author"))
        mirrors, told = self.follow("http://h/x", links, {})
        self.assertEqual((mirrors, len(told)), (["http://h/x"], 1))
        self.assertIn("1 links to other hosts are not followed", told[0])
        self.assertEqual(self.follow("http://h/x", links, {"sha256": S256}), (["http://h/x", "http://b/x"], []))

    def test_no_more_than_so_many(self) -> None:
        links = tuple(Link(f"http://h/{number}", "duplicate") for number in range(MAX_DUPLICATES + 1))
        self.assertEqual(len(self.follow("http://h/x", links, {})[0]), 1 + MAX_DUPLICATES)


def test_mirrors_are_joined_once() -> None:
    mirrors = ["a", "b"]
    join(mirrors, ("c", "a"))
    assert mirrors == ["a", "b", "c"]
