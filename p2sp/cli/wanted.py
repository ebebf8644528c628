"""What is wanted, according to the command line, an input file, and what is left of earlier runs?"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography import x509

from p2sp.cli.job import GetOptions
from p2sp.cli.outcome import UserError
from p2sp.cli.targets import Target, UrlTarget, check_url, parse_checksum, parse_target
from p2sp.cli.unfinished import Entry, Unfinished
from p2sp.download.report import ExitCode
from p2sp.net.proxy import proxy_settings
from p2sp.resource.selection import Selection, SelectionError
from p2sp.schedule.spans import Mode
from p2sp.sources.http_credentials import (
    MAX_HEADERS,
    Credentials,
    parse_header,
    parse_user,
    read_cookies,
    read_netrc,
)
from p2sp.storage.places import part_path

MAX_LIST: Final = 4 * 1024 * 1024
MAX_TARGETS: Final = 10_000


@attrs.frozen
class Wish:
    """One TARGET, as it was written and as it was understood, and how it is to be fetched."""

    text: str
    target: Target
    options: GetOptions


def read_list(name: str) -> list[str]:
    """The TARGETs in a file: one a line, `#` begins a comment line. Raises UserError."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_LIST + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_LIST + 1)
        text = data.decode()
    except OSError as error:
        raise UserError(f"--input {name}: {error.strerror}", ExitCode.BAD_INPUT) from error
    except UnicodeDecodeError as error:
        raise UserError(f"--input {name}: it is not text in UTF-8", ExitCode.BAD_INPUT) from error
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if len(data) > MAX_LIST or len(found) > MAX_TARGETS:
        raise UserError(f"--input {name}: more than {MAX_TARGETS} lines or {MAX_LIST} bytes", ExitCode.BAD_INPUT)
    return found


def read_wishes(
    texts: Sequence[str],
    *,
    resume_all: bool = False,
    environment: Mapping[str, str] | None = None,
    book: Unfinished | None = None,
    **given: Any,
) -> list[Wish]:
    """Every TARGET with its options; `given` are the words of `p2sp get`. Raises UserError."""
    environment = os.environ if environment is None else environment
    options = read_options(given, environment)
    folder = options.output is not None and (options.output.endswith("/") or Path(options.output).is_dir())
    if len(texts) > 1 and (options.mirrors or options.checksum or (options.output and not folder)):
        raise UserError(
            "several TARGETs take neither --mirror nor --checksum, and -o must be a folder", ExitCode.BAD_INPUT
        )
    if options.output == "-" and (resume_all or options.seed or options.rename or options.overwrite):
        raise UserError("-o - goes with none of --resume-all, --seed, --rename and --overwrite", ExitCode.BAD_INPUT)
    if options.rename and options.overwrite:
        raise UserError("--rename and --overwrite exclude each other", ExitCode.BAD_INPUT)
    wishes = [Wish(text, parse_target(text), options) for text in texts]
    if resume_all:
        taken = {wish.text for wish in wishes}
        book = book or Unfinished.default()
        for entry in book.read():
            path = Path(entry.path)
            if os.path.lexists(path) and not os.path.lexists(part_path(path)):
                # Done in another way meanwhile.
                book.done(entry.path)
            elif entry.target not in taken:
                wishes.append(_again(entry, options))
    urls = [wish.target.url for wish in wishes if isinstance(wish.target, UrlTarget)]
    urls += [url for wish in wishes for url in wish.options.mirrors]
    told = read_credentials(given, environment).also_for(urls)
    return [attrs.evolve(wish, options=attrs.evolve(wish.options, credentials=told)) for wish in wishes]


def _again(entry: Entry, options: GetOptions) -> Wish:
    return Wish(
        entry.target,
        parse_target(entry.target),
        attrs.evolve(
            options,
            output=entry.path,
            mirrors=tuple(entry.mirrors),
            checksum=parse_checksum(entry.checksum) if entry.checksum else None,
            in_order=options.in_order or entry.in_order,
            select=_selection((entry.select,)) if entry.select is not None else options.select,
            rename=False,
        ),
    )


def read_options(given: Mapping[str, Any], environment: Mapping[str, str]) -> GetOptions:
    """What `p2sp get` was told, but for what servers are told. Raises UserError."""
    plain = {field.name for field in attrs.fields(GetOptions)} & set(given)
    values = {name: given[name] for name in plain}
    values["mirrors"] = tuple(map(check_url, given.get("mirrors") or ()))
    values["select"] = _selection(given.get("select") or ())
    values["checksum"] = parse_checksum(given["checksum"]) if given.get("checksum") else None
    values["mode"] = Mode(given.get("mode") or Mode.FAST)
    for name in ("on_complete", "on_error"):
        values[name] = _command(name, given.get(name))
    try:
        values["proxy"] = proxy_settings(given.get("proxy"), environment)
    except ValueError as error:
        raise UserError(str(error), ExitCode.BAD_INPUT) from error
    if given.get("address") and not _is_address(given["address"]):
        raise UserError(f"--address {given['address']}: not an IP address", ExitCode.BAD_INPUT)
    values["authorities"] = _authorities(given["ca_certificate"]) if given.get("ca_certificate") else ()
    return GetOptions(**values)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _selection(texts: Sequence[str]) -> Selection | None:
    try:
        return Selection.parse(texts) if texts else None
    except SelectionError as error:
        raise UserError(f"--select {','.join(texts)}: {error}", ExitCode.BAD_INPUT) from error


def _command(name: str, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    option = f"--{name.replace('_', '-')}"
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UserError(f"{option} {text}: {error}", ExitCode.BAD_INPUT) from error
    if not words:
        raise UserError(f"{option}: it names no program", ExitCode.BAD_INPUT)
    return words


def _authorities(path: Path) -> tuple[x509.Certificate, ...]:
    from p2sp.net.errors import BadIdentity
    from p2sp.net.trust import Trust

    try:
        return Trust.from_file(path).authorities
    except BadIdentity as error:
        raise UserError(f"--ca-certificate {path}: {error.reason}", ExitCode.BAD_INPUT) from error


def read_credentials(given: Mapping[str, Any], environment: Mapping[str, str]) -> Credentials:
    """What servers are told. Raises UserError naming the option, never quoting a secret."""
    what = "--header"
    try:
        headers = tuple(map(parse_header, given.get("headers") or ()))
        if len(headers) > MAX_HEADERS:
            raise ValueError(f"more than {MAX_HEADERS} of them")
        what = "--user"
        user = parse_user(given["user"]) if given.get("user") else None
        what = "--cookies"
        cookies = read_cookies(given["cookies"]) if given.get("cookies") else None
        for what in ("--referer", "--user-agent"):
            if (text := given.get(what[2:].replace("-", "_"))) is not None:
                parse_header(f"x: {text}")
        what = "passwords (--no-netrc leaves them out)"
        netrc = None
        if not given.get("no_netrc"):
            named = environment.get("NETRC")
            path = Path(named) if named else Path(environment.get("HOME") or "/", ".netrc")
            if named or path.is_file():
                netrc = read_netrc(path)
    except ValueError as error:
        raise UserError(f"{what}: {error}", ExitCode.BAD_INPUT) from error
    return Credentials(
        headers=headers,
        user=user,
        netrc=netrc,
        cookies=cookies,
        referer=given.get("referer"),
        user_agent=given.get("user_agent"),
    )
