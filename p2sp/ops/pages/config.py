"""What does an operator set for a role's pages, and is it safe?"""

from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Meta, field

from p2sp.net.addresses import https_url
from p2sp.net.identity import Identity
from p2sp.net.listen import parse_listen
from p2sp.net.trust import server_context
from p2sp.ops.checks import Checker
from p2sp.ops.config import Base, ConfigError, resolve
from p2sp.ops.pages.door import Door
from p2sp.ops.pages.site import View, pages_site
from p2sp.ops.service import RoleService

SHORTEST_TOKEN: Final = 16
_LARGEST_TOKEN: Final = 4096


class PagesConfig(Base, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a role with pages has in its configuration besides.

    `pages` is where they are served: in clear text on a loopback address, else over TLS with the role's certificate.
    `pages_token` names a file whose first line is the operators' token; on loopback it may be left out. `pages_links`
    are names and URLs of other pages, shown at the top. `index` is who knows what resources are called; without it
    pages show ids alone.
    """

    pages: str | None = None
    pages_token: str | None = None
    index: str | None = None
    pages_links: Annotated[dict[str, str], Meta(max_length=20)] = field(default_factory=dict)


def check_pages(config: PagesConfig, config_path: Path) -> None:
    """Look at what types cannot see; raises ConfigError naming the setting that is wrong."""
    check = Checker(config_path)
    token = read_token(config, config_path)
    if (pages := config.pages) is None:
        check.need(token is None, "pages_token", "is for `pages`, which are served nowhere")
    else:
        safe = check.read("pages", lambda: _is_loopback(pages)) or token is not None
        check.need(safe, "pages", f"{pages!r} is not a loopback address: others may look only with a `pages_token`")
    if (index := config.index) is not None:
        check.read("index", lambda: https_url(index))
    for name, url in config.pages_links.items():
        check.read(f"pages_links.{name}", partial(_check_link, url))


def _is_loopback(address: str) -> bool:
    return ip_address(parse_listen(address)[0]).is_loopback


def _check_link(url: str) -> None:
    # Anything else, such as javascript:, has no place in a link.
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL such as https://manager.example:9104/")


def read_token(config: PagesConfig, config_path: Path) -> str | None:
    """The operators' token, None where none is set. Raises ConfigError for a file that does not hold a good one."""
    if config.pages_token is None:
        return None
    path = resolve(config_path, config.pages_token)
    try:
        with path.open("rb") as file:
            lines = file.read(_LARGEST_TOKEN).splitlines()
    except OSError as error:
        raise ConfigError(path, error.strerror or str(error)) from error
    token = lines[0].strip().decode("latin-1") if lines else ""
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise ConfigError(path, f"its first line must be a token of at least {SHORTEST_TOKEN} printable characters")
    return token


def serve_pages(role: RoleService, config: PagesConfig, config_path: Path, identity: Identity, view: View) -> None:
    """Have a role serve what `view` shows, where its operator wants that. Raises ConfigError."""
    if config.pages is None:
        return
    check_pages(config, config_path)
    clear = _is_loopback(config.pages)
    door = Door(role.role, role.reactor, read_token(config, config_path), secure=not clear)
    site = pages_site(role.reactor, role.role, view, door, links=config.pages_links)
    role.listen(config.pages, site, None if clear else server_context(identity))
