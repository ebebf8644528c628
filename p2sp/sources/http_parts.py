"""What bytes does a server hold at one place of a file? A look at a few of them, outside of any download."""

from p2sp.sources.http_agent import OddAnswer
from p2sp.sources.http_facts import Version, parse_content_range
from p2sp.sources.http_lane import Lane
from p2sp.sources.http_probe import Collector, check_status, range_header, version_in
from p2sp.sources.interfaces import SourceChanged, SourceError

LARGEST = 256 * 1024
"""Bytes that one look asks for at the most."""


async def read_part(lane: Lane, url: str, start: int, stop: int, *, total: int, version: Version) -> bytes:
    """The bytes from `start` to `stop` of a file of `total` bytes, as the server holds them now.

    Raises SourceError when it does not serve that part, and SourceChanged when its length or version is another one.
    """
    if not 0 <= start < stop <= total or stop - start > LARGEST:
        raise ValueError(f"{url}: bytes {start} to {stop} of {total} are no part to look at")
    answer = await lane.request(url, range_header(start, stop))
    check_status(url, answer)
    if conflict := version.conflicts(version_in(answer)):
        raise SourceChanged(f"{url}: changed on the server: {conflict}")
    if answer.status == 200 and start == 0:
        first, end, given_total = 0, answer.length, answer.length
    else:
        given = parse_content_range(answer.field("content-range") or "") if answer.status == 206 else None
        if given is None or given.first != start or given.last is None:
            raise OddAnswer(f"{url}: asked for byte {start}, answered with something else (HTTP {answer.status})")
        first, end, given_total = given.first, given.last + 1, given.total
    if given_total is not None and given_total != total:
        raise SourceChanged(f"{url}: has {given_total} bytes where {total} are expected")
    lane.body_at(first, end)
    kept = Collector()
    reached = await lane.serve(start, stop, kept)
    if reached < stop:
        raise SourceError(f"{url}: answer ended at byte {reached}, before byte {stop} that was wanted")
    return b"".join(kept.parts)
