"""What do a Metalink, and the links of a server's answer, tell of a file that is to be fetched?"""

import attrs

from p2sp.cli.job import Job
from p2sp.cli.outcome import UserError
from p2sp.download.node import Node
from p2sp.download.report import ExitCode, Report
from p2sp.resource.descriptor import MAX_TORRENT, Torrent
from p2sp.resource.errors import ResourceError
from p2sp.resource.metalink import MAX_METALINK, MEDIA_TYPE, MetalinkFile, strongest, the_one
from p2sp.resource.torrent_v1 import parse_foreign_torrent
from p2sp.resource.verification import Content, FlatVerification, described, of_metalink
from p2sp.sources.http_meaning import trusted_links
from p2sp.sources.http_probe import Probe, read_small
from p2sp.sources.interfaces import SourceError

MAX_DUPLICATES = 16
"""Mirrors taken from the links of one answer."""

TORRENT_TYPE = "application/x-bittorrent"

_STRONG = frozenset({"sha256", "sha384", "sha512"})


def is_metalink(found: Probe) -> bool:
    """Whether an answer is a Metalink rather than a file of its own."""
    return found.content_type == MEDIA_TYPE or found.name.lower().endswith(".meta4")


def is_torrent(found: Probe) -> bool:
    """Whether an answer is a `.torrent`."""
    return found.content_type == TORRENT_TYPE or found.name.endswith(".torrent")


async def read_metalink(node: Node, url: str, size: int | None = None) -> MetalinkFile:
    """The one file of the Metalink at a URL. Raises SourceError or MetalinkError."""
    from p2sp.resource.metalink_xml import parse_metalink

    return the_one(parse_metalink(await read_small(node.connect, url, MAX_METALINK)), size)


async def read_torrent(node: Node, url: str) -> Torrent:
    """The `.torrent` at a URL. Raises SourceError or DescriptorError."""
    return parse_foreign_torrent(await read_small(node.connect, url, MAX_TORRENT))


def content_of(file: MetalinkFile, length: int) -> Content:
    """The content that a Metalink's file is, named by its digest where there is one. Raises MetalinkError."""
    best = strongest(file.digests)
    key = f"{best[0]}:{best[1].hex()}" if best is not None else next(iter(file.urls), file.name)
    return of_metalink(file, length, key)


def check_agrees(file: MetalinkFile, checksum: tuple[str, str] | None) -> None:
    """Raises UserError where a Metalink says another digest than the user."""
    if checksum is None:
        return
    known = file.digests.get(checksum[0].replace("sha-", "sha"))
    if known is not None and known.hex() != checksum[1]:
        raise UserError(
            f"{file.name}: {checksum[0]} is {known.hex()} by the Metalink, {checksum[1]} was expected",
            ExitCode.CHECKSUM,
        )


def expected(checksum: tuple[str, str] | None, content: Content) -> list[tuple[str, str]]:
    """What the whole file must hash to, as hashlib's name and hex: by the user, and by whoever described it.

    A describer's own piece hashes, where they are as strong, cover every byte already: then its digest says no more.
    """
    wanted = [] if checksum is None else [(checksum[0].replace("sha-", "sha"), checksum[1])]
    verification = content.verification
    if isinstance(verification, FlatVerification) and verification.algorithm in _STRONG:
        return wanted
    best = strongest(content.digests)
    if best is not None and (best[0], best[1].hex()) not in wanted:
        wanted.append((best[0], best[1].hex()))
    return wanted


def shown(algorithm: str) -> str:
    """hashlib's name as --checksum takes it."""
    return algorithm.replace("sha", "sha-", 1) if algorithm[:4] != "sha3" else algorithm


def join(mirrors: list[str], more: tuple[str, ...]) -> None:
    """Put those of `more` behind `mirrors` that are not there."""
    mirrors += [url for url in more if url not in mirrors]


async def follow_links(node: Node, found: Probe, job: Job, report: Report, checksum: tuple[str, str] | None) -> None:
    """Take mirrors and a description from the links of the answer that is the file (RFC 6249).

    A description that cannot be had or is of another file is told, and the download goes on without it.
    """
    links = trusted_links(found.links, found.url, checked=checksum is not None or bool(found.digests))
    told = [link for link in found.links if link.rel in ("duplicate", "describedby")]
    left = len(told) - len([link for link in links if link in told])
    if left:
        report.tell(f"{found.url}: {left} links to other hosts are not followed: they came over http, without a digest")
    duplicates = [link.url for link in links if link.rel == "duplicate" and link.url != found.url]
    join(job.mirrors, tuple(dict.fromkeys(duplicates))[:MAX_DUPLICATES])
    for kind in (MEDIA_TYPE, TORRENT_TYPE):
        link = next((link for link in links if link.rel == "describedby" and link.type == kind), None)
        if link is None or found.length is None:
            continue
        try:
            if kind == MEDIA_TYPE:
                file = await read_metalink(node, link.url, found.length)
                check_agrees(file, checksum)
                job.content = _also(content_of(file, found.length), found)
                join(job.mirrors, file.urls)
            else:
                torrent = await read_torrent(node, link.url)
                descriptor = torrent.descriptor
                if descriptor.missing_layers or not descriptor.single or descriptor.length != found.length:
                    raise ResourceError("describes another file, or not its pieces")
                job.content = _also(described_file(torrent), found)
                join(job.mirrors, tuple(torrent.mirrors))
        except (SourceError, ResourceError) as error:
            report.tell(f"{link.url}: no help, going on without it: {error}")
        else:
            return


def _also(content: Content, found: Probe) -> Content:
    """A description does not do away with the digests that came with the file."""
    return attrs.evolve(content, digests={**found.digests, **content.digests})


def described_file(torrent: Torrent) -> Content:
    """The content of a `.torrent`. Raises UserError when it does not say enough."""
    if torrent.descriptor.missing_layers:
        raise UserError(f"{torrent.descriptor.name}: the .torrent has no piece layers", ExitCode.BAD_INPUT)
    return described(torrent.descriptor)
