"""What was asked for, and what has become of it so far?"""

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cryptography import x509

from p2sp.download.foreign import Hints
from p2sp.download.transfer import Transfer
from p2sp.net.proxy import ProxySettings
from p2sp.resource.selection import Selection
from p2sp.resource.verification import Content, Verified
from p2sp.schedule.spans import Mode
from p2sp.sources.http_credentials import Credentials
from p2sp.sources.http_probe import Probe
from p2sp.storage.disk import DiskStore

if TYPE_CHECKING:
    from p2sp.cli.site_file import Site


@attrs.frozen
class GetOptions:
    """What the command line says, read and checked. Rates in bytes a second."""

    output: str | None = None
    mirrors: tuple[str, ...] = ()
    checksum: tuple[str, str] | None = None
    site: "Site | None" = None
    jobs: int = 3
    mode: Mode = Mode.FAST
    connections: int = 4
    max_download: int | None = None
    max_upload: int | None = None
    seed: float = 0.0
    in_order: bool = False
    select: Selection | None = None
    clear_text: bool = False
    lan: bool = True
    summary: Path | None = None
    torrent: Path | None = None
    address: str | None = None
    overwrite: bool = False
    rename: bool = False
    fresh: bool = False
    keep_time: bool = True
    why: bool = False
    on_complete: tuple[str, ...] = ()
    on_error: tuple[str, ...] = ()
    credentials: Credentials | None = None
    proxy: ProxySettings | None = None
    authorities: tuple[x509.Certificate, ...] = ()

    @property
    def streaming(self) -> bool:
        """Whether the file goes to standard output."""
        return self.output == "-"


@attrs.define
class Job:
    """One target on its way: what is known of it so far, and how it ended."""

    content: Content | None = None
    store: DiskStore | None = None
    transfer: Transfer | None = None
    mirrors: list[str] = attrs.field(factory=list)
    hints: Hints = attrs.field(factory=Hints)
    found: Probe | None = None
    path: Path | None = None
    sha256: str | None = None
    verified: Verified = Verified.NONE
    length: int = 0
    complete: bool = False
