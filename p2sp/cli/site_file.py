"""How does a client know its network? The `site.toml` that `p2sp site init` writes."""

from pathlib import Path

import attrs
import msgspec

from p2sp.net.identity import Identity, load_identity
from p2sp.net.trust import Trust
from p2sp.ops.config import load_config, resolve


class SiteFile(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A network, as its clients see it. Paths are relative to the file.

    `authority` is the network's certificate; `index`, `manager` and `trackers` are URLs, of the last also
    `srv:campus.example` for the local trackers that this domain's DNS names, or `srv:` for those of the domain in which
    the others see the client; `publisher` is the PEM file that may publish.
    """

    authority: str
    index: str | None = None
    trackers: list[str] = []
    manager: str | None = None
    publisher: str | None = None


@attrs.frozen
class Site:
    """A network that a client takes part in."""

    path: Path
    trust: Trust
    file: SiteFile

    def publisher(self) -> Identity | None:
        """The key that may publish, if this copy of the site has one. Raises BadIdentity."""
        if self.file.publisher is None:
            return None
        return load_identity(resolve(self.path, self.file.publisher))


def load_site(path: Path) -> Site:
    """Read a `site.toml`, or the one in a folder. Raises ConfigError or BadIdentity, naming the file."""
    if path.is_dir():
        path = path / "site.toml"
    file = load_config(path, SiteFile)
    return Site(path, Trust.from_file(resolve(path, file.authority)), file)
