"""What does this TARGET name: a URL, a resource id, a magnet link, a `.torrent` or a Metalink file?"""

import re
from pathlib import Path

import attrs

from p2sp.cli.outcome import UserError
from p2sp.download.report import ExitCode
from p2sp.resource.descriptor import MAX_TORRENT, Torrent
from p2sp.resource.errors import ResourceError
from p2sp.resource.magnet import Magnet, parse_magnet, parse_resource_id
from p2sp.resource.metalink import MAX_METALINK, MetalinkFile, the_one
from p2sp.resource.torrent_v1 import parse_foreign_torrent
from p2sp.sources.http_agent import Url


@attrs.frozen
class UrlTarget:
    """One file on an HTTP(S) server, or a `.torrent` or Metalink there."""

    url: str


Target = UrlTarget | Magnet | Torrent | MetalinkFile


def parse_target(text: str) -> Target:
    """Read a TARGET. Raises UserError naming it and what is accepted."""
    if re.match(r"https?:", text, re.IGNORECASE):
        return UrlTarget(check_url(text))
    try:
        if text.lower().startswith("magnet:"):
            return parse_magnet(text)
        path = Path(text)
        if _is_file(path):
            return _described_in(path)
        if re.fullmatch(r"[0-9a-fA-F]{64}", text):
            return Magnet(parse_resource_id(text))
    except ResourceError as error:
        what = "" if text.lower().startswith("magnet:") else "not a .torrent or .meta4 file: "
        raise UserError(f"{text[:200]}: {what}{error}", ExitCode.BAD_INPUT) from error
    if "://" in text:
        raise UserError(f"{text[:200]}: only http and https URLs are fetched", ExitCode.BAD_INPUT)
    if path.suffix in (".torrent", ".meta4"):
        raise UserError(f"{text[:200]}: no such file", ExitCode.NOT_FOUND)
    raise UserError(
        f"{text[:200]}: not a URL, a magnet link, a .torrent or .meta4 file or a resource id (64 hex digits)",
        ExitCode.BAD_INPUT,
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # Too long for a name, or in a folder we may not look into.
        return False


def check_url(text: str) -> str:
    """A URL that can be fetched, as it is. Raises UserError saying what is wrong with it."""
    try:
        url = Url.from_text(text).to_uri()
        fault = ""
    except ValueError as error:
        fault = str(error)
    else:
        if url.scheme not in ("http", "https"):
            fault = "only http and https URLs are fetched"
        elif not url.host or re.search(r"\s", text):
            fault = "not a URL: " + ("it names no host" if not url.host else "there is a space in it")
        elif url.userinfo:
            fault = "URLs with a user name are not supported"
        elif not 0 < (url.port or 0) < 65536:
            fault = f"there is no port {url.port}"
    if fault:
        raise UserError(f"{text[:200]}: {fault}", ExitCode.BAD_INPUT)
    return text


def check_tracker(text: str) -> str:
    """The URL of a foreign tracker, as it is. Raises UserError saying what is wrong with it."""
    scheme, mark, rest = text.partition("://")
    if not mark or scheme.lower() not in ("http", "https", "udp"):
        raise UserError(f"{text[:200]}: a tracker's URL begins with http, https or udp", ExitCode.BAD_INPUT)
    check_url(f"http://{rest}")
    return text


def _described_in(path: Path) -> Torrent | MetalinkFile:
    """What a file describes: a Metalink by its name or its first character, else a `.torrent`."""
    try:
        if path.stat().st_size > max(MAX_TORRENT, MAX_METALINK):
            raise UserError(f"{path}: too large for a .torrent or .meta4 file", ExitCode.BAD_INPUT)
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if path.suffix.lower() == ".meta4" or data[:100].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        from p2sp.resource.metalink_xml import parse_metalink

        return the_one(parse_metalink(data))
    return parse_foreign_torrent(data)


def parse_checksum(text: str) -> tuple[str, str]:
    """`sha-256=HEX` as algorithm and lower-case digest. Raises UserError."""
    name, _, digest = text.partition("=")
    sizes = {"sha-256": 64, "sha-512": 128, "sha-1": 40, "md5": 32}
    algorithm = name.strip().lower()
    if algorithm not in sizes:
        raise UserError(f"--checksum {text}: {name!r} is not one of {', '.join(sizes)}", ExitCode.BAD_INPUT)
    if not re.fullmatch(rf"[0-9a-fA-F]{{{sizes[algorithm]}}}", digest.strip()):
        raise UserError(
            f"--checksum {text}: {algorithm} takes {sizes[algorithm]} hex digits after '='", ExitCode.BAD_INPUT
        )
    return algorithm, digest.strip().lower()
