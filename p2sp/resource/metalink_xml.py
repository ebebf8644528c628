"""How is a Metalink 4 (RFC 5854) read within limits, and written so that other programs read it?"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError, SubElement, TreeBuilder, indent, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from p2sp.resource.errors import DescriptorError, MetalinkError
from p2sp.resource.metalink import MAX_METALINK, STRENGTH, FlatPieces, MetalinkFile
from p2sp.resource.names import check_name

MAX_FILES = 1000
MAX_URLS = 100
"""URLs kept of one file, those of the lowest priority number first."""

_NAMESPACE = "urn:ietf:params:xml:ns:metalink"
_VERSION_3 = "http://www.metalinker.org/"
_MAX_ELEMENTS = 200_000
_MAX_DEPTH = 16
_LAST = 999_999
"""What a URL without priority counts as (RFC 5854, 4.2.16.2)."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NAMES = {"sha1": "sha-1", "sha224": "sha-224", "sha256": "sha-256", "sha384": "sha-384", "sha512": "sha-512"}


class _Builder(TreeBuilder):
    """A tree of bounded size and depth."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self._count += 1
        self._depth += 1
        if self._count > _MAX_ELEMENTS or self._depth > _MAX_DEPTH:
            raise MetalinkError(f"a Metalink has at most {_MAX_ELEMENTS} elements, {_MAX_DEPTH} deep")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def parse_metalink(data: bytes) -> tuple[MetalinkFile, ...]:
    """The files of a Metalink, at least one. Raises MetalinkError naming what is wrong."""
    if len(data) > MAX_METALINK:
        raise MetalinkError(f"a Metalink of {len(data)} bytes is larger than {MAX_METALINK}")
    parser = DefusedXMLParser(target=_Builder(), forbid_dtd=True)
    try:
        parser.feed(data)
        root = parser.close()
    except DefusedXmlException as error:
        raise MetalinkError("a Metalink with a document type or entities is refused") from error
    except (ParseError, ValueError, LookupError) as error:
        if isinstance(error, MetalinkError):
            raise
        raise MetalinkError(f"not a Metalink: {error}") from error
    if root.tag.startswith(f"{{{_VERSION_3}}}"):
        raise MetalinkError("a Metalink of version 3; only version 4 (RFC 5854) is read")
    if root.tag != _tag("metalink"):
        raise MetalinkError(f"not a Metalink: the document is a {root.tag[:80]!r}")
    found = root.findall(_tag("file"))
    if not found:
        raise MetalinkError("a Metalink without a file")
    if len(found) > MAX_FILES:
        raise MetalinkError(f"a Metalink of {len(found)} files; at most {MAX_FILES} are read")
    files = tuple(map(_file, found))
    if len({file.name for file in files}) < len(files):
        raise MetalinkError("a Metalink in which two files share a name")
    return files


def write_metalink(file: MetalinkFile) -> bytes:
    """A Metalink of one file, for other programs and ours; its URLs get priorities in their order."""
    root = Element("metalink", xmlns=_NAMESPACE)
    SubElement(root, "generator").text = "p2sp"
    entry = SubElement(root, "file", name=file.name)
    if file.size is not None:
        SubElement(entry, "size").text = str(file.size)
    for algorithm, digest in file.digests.items():
        SubElement(entry, "hash", type=_NAMES.get(algorithm, algorithm)).text = digest.hex()
    if file.pieces is not None:
        kind = _NAMES.get(file.pieces.algorithm, file.pieces.algorithm)
        pieces = SubElement(entry, "pieces", length=str(file.pieces.length), type=kind)
        for digest in file.pieces.hashes:
            SubElement(pieces, "hash").text = digest.hex()
    for priority, url in enumerate(file.urls, 1):
        SubElement(entry, "url", priority=str(priority)).text = url
    for priority, url in enumerate(file.torrents, 1):
        SubElement(entry, "metaurl", mediatype="torrent", priority=str(priority)).text = url
    indent(root)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _tag(name: str) -> str:
    return f"{{{_NAMESPACE}}}{name}"


def _file(element: Element) -> MetalinkFile:
    name = _safe(element.get("name", ""))
    size = _size(name, element.findtext(_tag("size")))
    digests: dict[str, bytes] = {}
    for given in element.findall(_tag("hash")):
        algorithm = _algorithm(given.get("type", ""))
        if algorithm is not None:
            digests[algorithm] = _digest(name, algorithm, given.text)
    torrents = [item for item in element.findall(_tag("metaurl")) if item.get("mediatype", "").lower() == "torrent"]
    return MetalinkFile(
        name,
        size,
        digests,
        _pieces(name, size, element.findall(_tag("pieces"))),
        _urls(element.findall(_tag("url"))),
        _urls(torrents),
    )


def _safe(path: str) -> str:
    """The last part of a file's path, of which every part must be safe."""
    parts = path.split("/")
    try:
        for part in parts:
            check_name(part)
            if part.startswith(".") or re.match(r"[A-Za-z]:", part) or any(map(_unseen, part)):
                raise DescriptorError("unsafe")
    except DescriptorError as error:
        raise MetalinkError(f"unsafe file name in Metalink: {path[:200]!r}") from error
    return parts[-1]


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _size(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text.strip()):
        raise MetalinkError(f"{name}: its size in the Metalink is {text[:40]!r}")
    return int(text)


def _algorithm(kind: str) -> str | None:
    """hashlib's name of a hash's type (IANA: sha-256), None of an unknown one."""
    plain = kind.strip().lower()
    return next((name for name in (plain.replace("-", ""), plain.replace("-", "_")) if name in STRENGTH), None)


def _digest(name: str, algorithm: str, text: str | None) -> bytes:
    given = (text or "").strip()
    length = hashlib.new(algorithm, usedforsecurity=False).digest_size
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * length}}}", given):
        raise MetalinkError(f"{name}: a hash in the Metalink is not {2 * length} hex digits: {given[:80]!r}")
    return bytes.fromhex(given)


def _pieces(name: str, size: int | None, given: Sequence[Element]) -> FlatPieces | None:
    """The pieces with the strongest hashes."""
    found: dict[str, FlatPieces] = {}
    for element in given:
        algorithm = _algorithm(element.get("type", ""))
        if algorithm is None:
            continue
        length = element.get("length", "")
        if not re.fullmatch(r"[0-9]{1,15}", length) or not int(length):
            raise MetalinkError(f"{name}: the length of its pieces in the Metalink is {length[:40]!r}")
        hashes = tuple(_digest(name, algorithm, item.text) for item in element.findall(_tag("hash")))
        if size is not None and len(hashes) != -(-size // int(length)):
            raise MetalinkError(f"{name}: {len(hashes)} pieces of {length} bytes do not make {size} bytes")
        found[algorithm] = FlatPieces(algorithm, int(length), hashes)
    return next((found[algorithm] for algorithm in STRENGTH if algorithm in found), None)


def _urls(given: Sequence[Element]) -> tuple[str, ...]:
    """Those that can be fetched, by priority, each once."""
    ranked: list[tuple[int, str]] = []
    for element in given:
        url, priority = (element.text or "").strip(), element.get("priority", "")
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        except ValueError:
            continue
        if usable and not re.search(r"\s", url) and len(url) <= 8192:
            ranked.append((int(priority) if re.fullmatch(r"[0-9]{1,6}", priority) else _LAST, url))
    ranked.sort(key=lambda item: item[0])
    return tuple(dict.fromkeys(url for _, url in ranked))[:MAX_URLS]
