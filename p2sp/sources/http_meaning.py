"""What does an HTTP answer say about the whole file: its digests, and who else has or describes it? Pure."""

import binascii
import re
from base64 import b64decode
from hashlib import new
from urllib.parse import urljoin, urlsplit

import attrs

MAX_LINKS = 200
"""Links read from one answer; the rest is left out."""

_MAX_FIELD = 64 * 1024
_NO_PRIORITY = 999_999
"""What a link without `pri` counts as (RFC 6249, 3.1): it is asked last."""

_LINK = re.compile(r"<([^<>]{1,8192})>\s*((?:;\s*[^\s=;,\"<>]+\s*(?:=\s*(?:\"(?:[^\"\\]|\\.)*\"|[^\s;,\"<>]*))?\s*)*)")
_PARAMETER = re.compile(r";\s*([^\s=;,\"<>]+)\s*(?:=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"<>]*)))?")
_REPR = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)\s*=\s*:([A-Za-z0-9+/=]*):\s*(?:;.*)?")
_LEGACY = re.compile(r"\s*([A-Za-z0-9-]+)\s*=\s*([A-Za-z0-9+/]+=*)\s*")
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1", "sha-1": "sha1", "md5": "md5"}


@attrs.frozen
class Link:
    """One link of an answer (RFC 8288): where to, as what, of which media type; low priorities are asked first."""

    url: str
    rel: str
    type: str = ""
    priority: int = _NO_PRIORITY


def digest_of(algorithm: str, text: str) -> bytes | None:
    """A digest in base64, if it is as long as one of `algorithm` (hashlib's name)."""
    try:
        digest = b64decode(text, validate=True)
    except binascii.Error:
        return None
    return digest if len(digest) == new(algorithm, usedforsecurity=False).digest_size else None


def parse_digests(repr_digest: str | None, digest: str | None) -> dict[str, bytes]:
    """Digests of the whole representation, by hashlib's name of the algorithm.

    Repr-Digest (RFC 9530) has the word over the legacy Digest (RFC 3230). What is malformed or unknown is left out.
    """
    found: dict[str, bytes] = {}
    for value, form in ((repr_digest, _REPR), (digest, _LEGACY)):
        for part in (value or "")[:_MAX_FIELD].split(","):
            match = form.fullmatch(part)
            algorithm = _ALGORITHMS.get(match.group(1).lower()) if match else None
            if match is None or algorithm is None:
                continue
            given = digest_of(algorithm, match.group(2))
            if given is not None:
                found.setdefault(algorithm, given)
    return found


def parse_links(value: str | None, base_url: str) -> tuple[Link, ...]:
    """The links of a Link field (RFC 8288; RFC 6249), those of low priority first, each relation its own link.

    Links to anything but http and https, with an anchor of their own, or malformed, are left out.
    """
    found: list[Link] = []
    for target, parameters in _LINK.findall((value or "")[:_MAX_FIELD]):
        fields: dict[str, str] = {}
        for name, quoted, bare in _PARAMETER.findall(parameters):
            fields.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or bare)
        if "anchor" in fields:
            continue
        try:
            url = urljoin(base_url, target.strip())
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        except ValueError:
            continue
        if not usable or re.search(r"\s", url):
            continue
        priority = fields.get("pri", "")
        for rel in fields.get("rel", "").lower().split()[:4]:
            found.append(
                Link(
                    url,
                    rel,
                    fields.get("type", "").lower(),
                    max(int(priority), 1) if re.fullmatch(r"[0-9]{1,6}", priority) else _NO_PRIORITY,
                )
            )
    return tuple(sorted(found[:MAX_LINKS], key=lambda link: link.priority))


def trusted_links(links: tuple[Link, ...], url: str, *, checked: bool) -> tuple[Link, ...]:
    """Those links of the answer to `url` that may be followed.

    What came over plain http may be anybody's words: unless the file is `checked` against a digest, only links to the
    same host, or to one below or above it, are followed.
    """
    if checked or url.lower().startswith("https:"):
        return links
    host = _host(url)
    return tuple(link for link in links if _related(_host(link.url), host))


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower().rstrip(".")


def _related(one: str, other: str) -> bool:
    """Whether one is the other, or a name below it; two labels at least, so that `com` is nobody's kin."""
    if one == other:
        return True
    shorter, longer = sorted((one, other), key=len)
    return "." in shorter and ":" not in shorter and not shorter[-1:].isdigit() and longer.endswith("." + shorter)
