"""What does the scriptable origin do in each of its scenarios?"""

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from itertools import repeat
from typing import Final

from tests.hostile.origin import Hit, Origin, Talk, chunked, pieces

Scenario = Callable[[Origin, Talk, Hit], None]
SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(name: str) -> Callable[[Scenario], Scenario]:
    """Register what happens below `/name/`."""

    def register(act: Scenario) -> Scenario:
        SCENARIOS[name] = act
        return act

    return register


def part(
    origin: Origin, talk: Talk, hit: Hit, first: int, stop: int, *, total: str | None = None, coded: bool = False
) -> None:
    """A 206 with the bytes from `first` to `stop`."""
    data = origin.data[first:stop]
    total = str(len(origin.data)) if total is None else total
    coding = "Transfer-Encoding: chunked" if coded else f"Content-Length: {len(data)}"
    talk.head("206 Partial Content", *origin.validators, f"Content-Range: bytes {first}-{stop - 1}/{total}", coding)
    talk.body(hit, chunked(data) if coded else pieces(data))


def whole(origin: Origin, talk: Talk, hit: Hit, *fields: str) -> None:
    """A 200 with everything."""
    talk.head("200 OK", *origin.validators, f"Content-Length: {len(origin.data)}", *fields)
    talk.body(hit, pieces(origin.data))


def ranged(origin: Origin, hit: Hit) -> tuple[int, int]:
    """The run of bytes asked for, or all of them."""
    return origin.wanted(hit) or (0, len(origin.data))


@scenario("honest")
def honest(origin: Origin, talk: Talk, hit: Hit) -> None:
    wanted = origin.wanted(hit)
    if wanted is None or hit.fields.get("if-range", origin.etag) != origin.etag:
        whole(origin, talk, hit, "Accept-Ranges: bytes")
    elif wanted[0] >= len(origin.data):
        talk.head("416 Range Not Satisfiable", f"Content-Range: bytes */{len(origin.data)}", "Content-Length: 0")
    else:
        part(origin, talk, hit, *wanted)


@scenario("ignored")
def ignored(origin: Origin, talk: Talk, hit: Hit) -> None:
    whole(origin, talk, hit)


@scenario("burst")
def burst(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Head and body in one piece, as servers send small files."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(origin.data)}\r\n\r\n"
    talk.send(hit, head.encode() + origin.data)


@scenario("liar")
def liar(origin: Origin, talk: Talk, hit: Hit) -> None:
    whole(origin, talk, hit, "Accept-Ranges: bytes")


@scenario("shifted")
def shifted(origin: Origin, talk: Talk, hit: Hit) -> None:
    first, stop = ranged(origin, hit)
    part(origin, talk, hit, first + 1 if first else 0, stop)


@scenario("zero")
def always_from_zero(origin: Origin, talk: Talk, hit: Hit) -> None:
    """A 206 as long as what was asked for, but from the first byte on."""
    wanted = origin.wanted(hit)
    if wanted is None:
        whole(origin, talk, hit)
    else:
        part(origin, talk, hit, 0, wanted[1] - wanted[0])


@scenario("zero-all")
def everything_as_a_part(origin: Origin, talk: Talk, hit: Hit) -> None:
    part(origin, talk, hit, 0, len(origin.data))


@scenario("short")
def short(origin: Origin, talk: Talk, hit: Hit) -> None:
    first, stop = ranged(origin, hit)
    part(origin, talk, hit, first, min(stop, first + int(origin.limit)))


@scenario("star")
def total_unknown(origin: Origin, talk: Talk, hit: Hit) -> None:
    wanted = origin.wanted(hit)
    if wanted is None:
        whole(origin, talk, hit)
    else:
        part(origin, talk, hit, *wanted, total="*")


@scenario("star-short")
def total_unknown_and_short(origin: Origin, talk: Talk, hit: Hit) -> None:
    wanted = origin.wanted(hit)
    if wanted is None:
        whole(origin, talk, hit)
    else:
        part(origin, talk, hit, wanted[0], min(wanted[1], wanted[0] + int(origin.limit)), total="*")


@scenario("chunked-part")
def chunked_part(origin: Origin, talk: Talk, hit: Hit) -> None:
    part(origin, talk, hit, *ranged(origin, hit), coded=True)


@scenario("chunked")
def chunked_whole(origin: Origin, talk: Talk, hit: Hit) -> None:
    talk.head("200 OK", "Transfer-Encoding: chunked")
    talk.body(hit, chunked(origin.data))


@scenario("chunked-cut")
def chunked_cut(origin: Origin, talk: Talk, hit: Hit) -> None:
    """The connection ends, the chunks do not."""
    talk.head("200 OK", "Transfer-Encoding: chunked")
    talk.body(hit, list_without_end(origin.data), talk.hang_up)


def list_without_end(data: bytes) -> Iterator[bytes]:
    """All chunks but the one that ends a body."""
    return (each for each in chunked(data) if each != b"0\r\n\r\n")


@scenario("no-length")
def no_length(origin: Origin, talk: Talk, hit: Hit) -> None:
    """The end of the connection ends the body, as in HTTP/1.0."""
    talk.head("200 OK", "Connection: close")
    talk.body(hit, pieces(origin.data), talk.hang_up)


@scenario("gzip")
def encoded(origin: Origin, talk: Talk, hit: Hit) -> None:
    whole(origin, talk, hit, "Content-Encoding: gzip")


@scenario("multipart")
def multipart(origin: Origin, talk: Talk, hit: Hit) -> None:
    talk.head("206 Partial Content", "Content-Type: multipart/byteranges; boundary=x", "Content-Length: 3")
    talk.body(hit, iter([b"--x"]))


@scenario("truncated")
def truncated(origin: Origin, talk: Talk, hit: Hit) -> None:
    first, stop = ranged(origin, hit)
    fields = [f"Content-Range: bytes {first}-{stop - 1}/{len(origin.data)}", f"Content-Length: {stop - first}"]
    talk.head("206 Partial Content", *origin.validators, *fields)
    talk.body(hit, pieces(origin.data[first : min(stop, first + int(origin.limit))]), talk.hang_up)


@scenario("endless")
def endless(origin: Origin, talk: Talk, hit: Hit) -> None:
    talk.head("200 OK", "Connection: close")
    talk.body(hit, repeat(bytes(16384)))


@scenario("silent")
def silent(origin: Origin, talk: Talk, hit: Hit) -> None:
    """The connection stays, the bytes stop."""
    first, stop = ranged(origin, hit)
    fields = [f"Content-Range: bytes {first}-{stop - 1}/{len(origin.data)}", f"Content-Length: {stop - first}"]
    talk.head("206 Partial Content", *origin.validators, *fields)
    talk.body(hit, pieces(origin.data[first : min(stop, first + int(origin.limit))]))


@scenario("drip")
def drip(origin: Origin, talk: Talk, hit: Hit) -> None:
    """A byte a second."""
    first, stop = ranged(origin, hit)
    fields = [f"Content-Range: bytes {first}-{stop - 1}/{len(origin.data)}", f"Content-Length: {stop - first}"]
    talk.head("206 Partial Content", *origin.validators, *fields)
    talk.drip(hit, (origin.data[at : at + 1] for at in range(first, stop)), 1.0)


@scenario("mute")
def mute(origin: Origin, talk: Talk, hit: Hit) -> None:
    """No answer at all."""


@scenario("status")
def status(origin: Origin, talk: Talk, hit: Hit) -> None:
    """`/status/<code>/<value of Retry-After, if any>`."""
    code, _, after = hit.path.removeprefix("/status/").partition("/")
    extra = [f"Retry-After: {after.replace('%20', ' ')}"] if after else []
    talk.head(f"{code} As You Wish", *extra, "Content-Length: 0")


@scenario("flaky")
def flaky(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Turns requests away at first."""
    if origin.busy > 0:
        origin.busy -= 1
        talk.head("503 Service Unavailable", "Retry-After: 0", "Content-Length: 0")
    else:
        honest(origin, talk, hit)


@scenario("toll")
def toll(origin: Origin, talk: Talk, hit: Hit) -> None:
    """`/toll/<status>/<how>/<name>` turns requests away, with a Retry-After of a second or a little more.

    `seconds` and `date` are its two forms, and then the first two requests are turned away; `parts` are seconds again,
    and then it is every part that does not begin the file.
    """
    _, _, status, how, _ = hit.path.split("/")
    wanted = origin.wanted(hit)
    refused = sum(each.path == hit.path for each in origin.hits) <= 2
    if how == "parts":
        refused = wanted is not None and wanted[0] > 0
    if refused:
        after = formatdate(time.time() + 2, usegmt=True) if how == "date" else "1"
        talk.head(f"{status} Not Now", f"Retry-After: {after}", "Content-Length: 0")
    else:
        honest(origin, talk, hit)


@scenario("loop")
def loop(origin: Origin, talk: Talk, hit: Hit) -> None:
    talk.head("302 Found", f"Location: {hit.path}", "Content-Length: 4")
    talk.transport.write(b"loop")


@scenario("redirect")
def redirect(origin: Origin, talk: Talk, hit: Hit) -> None:
    talk.head("302 Found", f"Location: {origin.target}", "Content-Length: 4")
    talk.transport.write(b"away")


@scenario("signed")
def signed(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Only the URL that `redirect` leads to now is good."""
    if origin.target.endswith(hit.path):
        honest(origin, talk, hit)
    else:
        talk.head(origin.refusal, "Content-Length: 7")
        talk.transport.write(b"expired")


@scenario("no-if-range")
def no_if_range(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Drops the range of every request on a condition."""
    if "if-range" in hit.fields:
        whole(origin, talk, hit)
    else:
        honest(origin, talk, hit)


@scenario("fickle")
def fickle(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Ignores ranges at first."""
    if origin.busy > 0:
        origin.busy -= 1
        whole(origin, talk, hit)
    else:
        honest(origin, talk, hit)


@scenario("turning")
def turning(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Holds another version of the same length once `target` is set."""
    data = origin.data
    origin.data = data[::-1] if origin.target else data
    honest(origin, talk, hit)
    origin.data = data


@scenario("moody")
def moody(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Refuses so many ranges that do not begin the file."""
    wanted = origin.wanted(hit)
    if wanted is not None and wanted[0] and origin.busy > 0:
        origin.busy -= 1
        talk.head("416 Range Not Satisfiable", f"Content-Range: bytes */{len(origin.data)}", "Content-Length: 0")
    else:
        honest(origin, talk, hit)


@scenario("new-etag")
def etag_of_the_moment(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Another strong ETag with each answer."""
    origin.etag = f'"{len(origin.hits)}"'
    honest(origin, talk, hit)


@scenario("new-date")
def date_of_the_moment(origin: Origin, talk: Talk, hit: Hit) -> None:
    """No ETag, and another Last-Modified with each answer."""
    origin.etag = ""
    origin.last_modified = f"Mon, 01 Jan 2024 00:00:{len(origin.hits):02} GMT"
    honest(origin, talk, hit)


@scenario("shrunk")
def shrunk(origin: Origin, talk: Talk, hit: Hit) -> None:
    """From the second request on the file is shorter."""
    if len(origin.hits) > 1:
        origin.data = origin.data[:1000]
    honest(origin, talk, hit)


@scenario("huge-head")
def huge_head(origin: Origin, talk: Talk, hit: Hit) -> None:
    talk.transport.write(b"HTTP/1.1 200 OK\r\n")
    talk.body(hit, (b"X-%d: %s\r\n" % (n, b"x" * 8000) for n in range(100_000)))


@scenario("garbage")
def garbage(origin: Origin, talk: Talk, hit: Hit) -> None:
    talk.transport.write(b"\x00\xff this is not HTTP\r\n\r\n")
    talk.hang_up()


@scenario("latin")
def latin(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Header fields in Latin-1."""
    whole(origin, talk, hit, 'Content-Disposition: attachment; filename="caf\xe9.bin"', "X-Odd: \xe9")


@scenario("odd-coding")
def odd_coding(origin: Origin, talk: Talk, hit: Hit) -> None:
    talk.head("200 OK", "Transfer-Encoding: magic")
    talk.body(hit, pieces(origin.data))


@scenario("by-length")
def by_length(origin: Origin, talk: Talk, hit: Hit) -> None:
    """Files that are beginnings of the data, each as long as it was said to be and with an ETag of its own."""
    name = hit.path.rpartition("/")[2]
    length = origin.lengths[name]
    wanted = origin.wanted(hit) or (0, length)
    data = origin.data[wanted[0] : min(wanted[1], length)]
    first, last = wanted[0], wanted[0] + len(data) - 1
    fields = [f'ETag: "{name}"', f"Content-Range: bytes {first}-{last}/{length}", f"Content-Length: {len(data)}"]
    talk.head("206 Partial Content", *fields)
    talk.body(hit, pieces(data))
