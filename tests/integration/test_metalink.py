"""Does what a Metalink or a server tells of a file hold, between real programs?"""

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from hashlib import md5, sha1, sha256
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.origin import noise
from tests.integration.processes import free_port, run_once
from tests.integration.servers import P2SP, OriginProcess, get, names, program
from tests.integration.telling import TellingServer

pytestmark = pytest.mark.integration

SIZE = 12 * 1024 * 1024 + 5
PIECE = 256 * 1024
DATA = noise(SIZE, 3)
DIGEST = sha256(DATA)
WRONG = "0" * 64
MEDIA_TYPE = "application/metalink4+xml"

MIRROR_LIST = """<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink">
  <generator>a mirror redirector</generator>
  <origin dynamic="true">http://127.0.0.1:1/pub/x.bin.meta4</origin>
  <published>2026-01-02T03:04:05Z</published>
  <publisher>
    <name>Somebody</name>
    <url>http://127.0.0.1:1/</url>
  </publisher>

  <file name="x.bin">
    <size>{size}</size>
    <hash type="md5">{md5}</hash>
    <hash type="sha-1">{sha1}</hash>
    <hash type="sha-256">{sha256}</hash>
    <signature mediatype="application/pgp-signature">-----BEGIN PGP SIGNATURE-----</signature>
    <pieces length="{piece}" type="sha-1">
{pieces}
    </pieces>

    <!-- Mirrors in the same AS -->
    <url location="de" priority="2">ftp://127.0.0.1/x.bin</url>
    <url location="de" priority="1">{first}</url>
    <!-- All others -->
    <url location="us" priority="3">{second}</url>
  </file>
</metalink>
"""


SMALL_LIST = """<?xml version='1.0' encoding='utf-8'?>
<ml:metalink xmlns:ml="urn:ietf:params:xml:ns:metalink" xmlns:mm="http://127.0.0.1/mirrors">
 <ml:generator>a mirror manager</ml:generator>
 <ml:file name="release/1/x.bin">
  <mm:timestamp>1767323045</mm:timestamp>
  <ml:size>{size}</ml:size>
  <ml:hash type="sha-512">{sha512}</ml:hash>
  <ml:url location="XX" priority="100">{first}</ml:url>
 </ml:file>
</ml:metalink>
"""


def mirror_list(first: str, second: str, piece: int = PIECE) -> str:
    """A Metalink as a mirror redirector makes it, for two servers."""
    hashes = [f"      <hash>{sha1(DATA[at : at + piece]).hexdigest()}</hash>" for at in range(0, SIZE, piece)]
    return MIRROR_LIST.format(
        size=SIZE,
        piece=piece,
        md5=md5(DATA).hexdigest(),
        sha1=sha1(DATA).hexdigest(),
        sha256=DIGEST.hexdigest(),
        pieces="\n".join(hashes),
        first=first,
        second=second,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TellingServer]:
    folder = tmp_path_factory.mktemp("root")
    (folder / "x.bin").write_bytes(DATA)
    with TellingServer(folder) as server:
        yield server


@pytest.fixture
def file(server: TellingServer) -> str:
    """The file's URL, of which nothing is told."""
    return server.tell("x.bin", {})


def published(folder: Path, *mirrors: str) -> Path:
    (folder / "source").mkdir()
    (folder / "source" / "x.bin").write_bytes(DATA)
    made = folder / "source" / "x.meta4"
    given = [word for url in mirrors for word in ("--mirror", url)]
    result = run_once([P2SP, "publish", "source/x.bin", "--metalink", str(made), *given], folder)
    assert result.returncode == 0, result.stderr
    return made


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "s.json").read_text())
    return found


def test_aria2_downloads_by_what_we_publish(file: str, tmp_path: Path) -> None:
    made = published(tmp_path, f"http://127.0.0.1:{free_port()}/x.bin", file.removesuffix("x.bin"))
    result = subprocess.run(
        [program("aria2c"), "--no-conf", "-V", "--dir", str(tmp_path), "--metalink-file", str(made)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert (tmp_path / "x.bin").read_bytes() == DATA


def test_wget2_downloads_by_what_we_publish(tmp_path: Path) -> None:
    (tmp_path / "served").write_bytes(DATA)
    with OriginProcess(tmp_path / "served") as origin:
        made = published(tmp_path, origin.url("honest"))
        result = subprocess.run(
            [program("wget2"), "--no-config", "--force-metalink", "--input-file", str(made)],
            cwd=tmp_path,
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert result.returncode == 0, result.stdout
    assert b"Checksum OK" in result.stdout
    assert (tmp_path / "x.bin").read_bytes() == DATA


def test_an_older_metalink_is_refused_by_name(tmp_path: Path) -> None:
    old = '<metalink version="3.0" xmlns="http://www.metalinker.org/"><files/></metalink>'
    (tmp_path / "old.meta4").write_text(old)
    result = get(tmp_path, "old.meta4")
    assert (result.returncode, "only version 4 (RFC 5854) is read" in result.stderr) == (28, True), result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_what_we_publish(file: str, tmp_path: Path) -> None:
    made = published(tmp_path, file)
    result = run_once([P2SP, "show", str(made)], tmp_path)
    assert f"sha-256: {DIGEST.hexdigest()}" in result.stdout
    assert f"mirror: {file}" in result.stdout
    assert "pieces: 49 of" in result.stdout
    assert run_once([P2SP, "verify", "source/x.bin", str(made)], tmp_path).returncode == 0
    (tmp_path / "bad.bin").write_bytes(DATA[:-1] + b"?")
    result = run_once([P2SP, "verify", "bad.bin", str(made)], tmp_path)
    assert (result.returncode, "1 of 49 pieces" in result.stdout) == (32, True)
    for arguments, words in (
        (["source/x.bin", "--metalink", "m"], "at least one --mirror"),
        (["source", "--metalink", "m", "--mirror", file], "is a folder"),
        (["source/x.bin", "source/x.bin", "--metalink", "m"], "--metalink goes with one FILE"),
    ):
        result = run_once([P2SP, "publish", *arguments], tmp_path)
        assert (result.returncode, words in result.stderr) == (28, True), result.stderr


@pytest.mark.parametrize("how", ["file", "type", "name"])
def test_a_metalink_is_fetched_by(how: str, server: TellingServer, file: str, tmp_path: Path) -> None:
    made = published(tmp_path, file)
    target = str(made)
    if how != "file":
        name = "list" if how == "type" else "y.meta4"
        (server.folder / name).write_bytes(made.read_bytes())
        target = server.tell(name, {"Content-Type": MEDIA_TYPE} if how == "type" else {})
    result = get(tmp_path, target, "--checksum", f"sha-256={DIGEST.hexdigest()}", "--summary", "s.json")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "x.bin").read_bytes() == DATA
    account = summary(tmp_path)
    assert (account["verified"], account["sha256"]) == ("pieces", DIGEST.hexdigest())
    result = get(tmp_path, target, "--checksum", f"sha-256={WRONG}", "-o", "y.bin")
    assert (result.returncode, "by the Metalink" in result.stderr) == (32, True), result.stderr


def test_metalinks_of_others(file: str, tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}/x.bin"
    (tmp_path / "a.meta4").write_text(mirror_list(dead, file))
    result = get(tmp_path, "a.meta4", "-o", "a.bin", "--summary", "s.json")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert summary(tmp_path)["verified"] == "pieces"
    # Pieces whose length is no power of two are left out, and the whole is checked.
    (tmp_path / "b.meta4").write_text(mirror_list(dead, file, 3000000))
    result = get(tmp_path, "b.meta4", "-o", "b.bin", "--summary", "s.json")
    assert result.returncode == 0, result.stderr
    assert "pieces of 3000000 bytes are not used" in result.stderr
    assert (tmp_path / "b.bin").read_bytes() == DATA
    assert summary(tmp_path)["verified"] == "digest"


@pytest.mark.parametrize("good", [True, False])
def test_a_metalink_with_a_hash_alone(good: bool, file: str, tmp_path: Path) -> None:
    from hashlib import sha512

    digest = sha512(DATA if good else b"").hexdigest()
    (tmp_path / "c.meta4").write_text(SMALL_LIST.format(size=SIZE, sha512=digest, first=file))
    result = get(tmp_path, "c.meta4", "--summary", "s.json")
    assert result.returncode == (0 if good else 32), result.stderr
    assert summary(tmp_path)["verified"] == ("digest" if good else "none")
    assert ("x.bin" in names(tmp_path)) == good
    assert good or f"sha-512 is {sha512(DATA).hexdigest()}, {digest} was expected" in result.stderr


def test_a_size_that_is_not_the_servers(file: str, tmp_path: Path) -> None:
    (tmp_path / "c.meta4").write_text(SMALL_LIST.format(size=SIZE + 1, sha512="0" * 128, first=file))
    result = get(tmp_path, "c.meta4")
    assert (result.returncode, names(tmp_path)) == (8, ["c.meta4"])
    assert f"is of {SIZE} bytes, and x.bin is of {SIZE + 1} bytes by the Metalink" in result.stderr


@pytest.mark.parametrize(("piece", "rate"), [(PIECE, 4e6), (1024 * 1024, 30e6)])
def test_a_corrupt_mirror_is_named_and_costs_two_pieces(piece: int, rate: float, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(DATA)
    (tmp_path / "bad").write_bytes(noise(SIZE, 4))
    with OriginProcess(tmp_path / "good", 6e6) as good, OriginProcess(tmp_path / "bad", rate) as bad:
        liar, honest = bad.url("honest"), good.url("honest")
        (tmp_path / "a.meta4").write_text(mirror_list(liar, honest, piece))
        result = get(tmp_path, "a.meta4", "--summary", "s.json", "--connections", "4")
        sent = bad.sent()
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "x.bin").read_bytes() == DATA
    account = summary(tmp_path)
    assert account["verified"] == "pieces"
    assert sent <= 2 * piece, "as its server counts"
    by_label = {source["label"]: source["bytes"] for source in account["sources"]}
    assert sent + by_label[honest] - SIZE <= 2 * piece
    assert f"{liar}: sent bad data for piece" in result.stderr


@pytest.mark.parametrize("field", ["Repr-Digest", "Digest"])
@pytest.mark.parametrize("good", [True, False])
def test_the_servers_digest(field: str, good: bool, server: TellingServer, tmp_path: Path) -> None:
    digest = b64encode(DIGEST.digest() if good else bytes(32)).decode()
    url = server.tell("x.bin", {field: f"sha-256=:{digest}:" if field == "Repr-Digest" else f"SHA-256={digest}"})
    result = get(tmp_path, url, "--summary", "s.json")
    assert result.returncode == (0 if good else 32), result.stderr
    assert ("x.bin" in names(tmp_path)) == good
    assert summary(tmp_path)["verified"] == ("digest" if good else "none")
    assert good or f"sha-256 is {DIGEST.hexdigest()}, {WRONG} was expected" in result.stderr


def test_a_description_is_followed(server: TellingServer, file: str, tmp_path: Path) -> None:
    made = published(tmp_path, file)
    (server.folder / "z.meta4").write_bytes(made.read_bytes())
    server.tell("z.meta4", {"Content-Type": MEDIA_TYPE})
    url = server.tell("x.bin", {"Link": f'</z.meta4>; rel=describedby; type="{MEDIA_TYPE}"'})
    result = get(tmp_path, url, "--summary", "s.json")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "x.bin").read_bytes() == DATA
    assert summary(tmp_path)["verified"] == "pieces"
    url = server.tell("x.bin", {"Link": f'</none.meta4>; rel=describedby; type="{MEDIA_TYPE}"'})
    result = get(tmp_path, url, "-o", "y.bin")
    assert result.returncode == 0, result.stderr
    assert "no help, going on without it" in result.stderr


def test_links_over_http_to_other_hosts_need_a_digest(server: TellingServer, tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(DATA)
    with OriginProcess(tmp_path / "other.bin") as origin:
        elsewhere = origin.url("honest").replace("127.0.0.1", "127.0.0.2")
        url = server.tell("x.bin", {"Link": f"<{elsewhere}>; rel=duplicate"})
        result = get(tmp_path, url)
        assert result.returncode == 0, result.stderr
        assert "1 links to other hosts are not followed" in result.stderr
        assert (tmp_path / "x.bin").read_bytes() == DATA


def test_a_digest_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"hello")
    with OriginProcess(tmp_path / "small") as origin:
        assert get(tmp_path, origin.url("honest")).returncode == 0
        assert origin.hits()[0]["fields"]["want-repr-digest"] == "sha-256=10"
