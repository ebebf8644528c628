"""How does a network get another super node, local tracker or key, and how do its certificates stay good?"""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from p2sp.locality.alto import LARGEST_DOCUMENT
from p2sp.locality.network_map import NetworkMap
from p2sp.net.identity import load_identity, save_identity
from p2sp.net.trust import Trust
from p2sp.ops.checks import load_document
from p2sp.ops.config import ConfigError, load_config
from p2sp.site.init import NAME, check_place
from p2sp.site.layout import MAP, PKI, NetworkFolder
from p2sp.site.services import METRICS, Centre, watched


class _Site(msgspec.Struct):
    index: str
    trackers: Annotated[list[str], msgspec.Meta(min_length=1)]
    manager: str


class _Manager(msgspec.Struct):
    statistics: str


KEYS = ("publisher", "operator")
"""Roles of people: a key and nothing that runs."""


def add_to_site(
    folder: Path, role: str, name: str, host: str = "", port: int = 0, isp: str = "", state: str | None = None
) -> list[str]:
    """Another key, or another service with its key and configuration; the lines that tell the user what was written.

    A service needs `host` and `port`, a tracker also the `isp` it is for. Raises ConfigError or BadIdentity.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"--name {name}", "takes letters, digits, '-' and '_'")
    files = NetworkFolder.existing(folder, state)
    for path in (folder / f"{name}.toml", folder / PKI / f"{name}.pem"):
        if path.exists():
            raise ConfigError(path, "is there already; choose another name")
    if role in KEYS:
        files.key(role, name)
        return [f"A key with the role {role} is in {folder / PKI / f'{name}.pem'}: for its owner alone."]
    if not host or not port:
        raise ConfigError(f"site add {role}", "needs --host and --port, by which others reach it")
    check_place(host, port + METRICS)
    if (role == "tracker") is not bool(isp):
        raise ConfigError(f"site add {role}", "needs --isp, for whose clients it is" if not isp else "takes no --isp")
    centre = _centre(folder)
    network_map = load_document(folder / "tracker.toml", MAP, LARGEST_DOCUMENT, NetworkMap.decode)
    if isp and network_map is not None and isp not in network_map.pids:
        raise ConfigError(f"--isp {isp}", f"{folder / MAP} knows {', '.join(sorted(network_map.pids))}")
    service = {
        "supernode": lambda: centre.supernode(name, host, port),
        "peer": lambda: centre.peer(name, host, port),
        "tracker": lambda: centre.local_tracker(name, host, port, isp),
    }[role]()
    path = files.service(watched(service))
    needed = [path, folder / PKI / "ca.pem"]
    needed += [folder / PKI / f"{name}.pem"] if role != "peer" else []
    needed += [folder / MAP] if role == "tracker" else []
    return [
        f"{path} is its configuration. Where it shall run it needs, in the same places:",
        *(f"  {each.relative_to(folder)}" for each in needed),
        f"  twistd -n p2sp-{role} --config {path.name}",
    ]


def _centre(folder: Path) -> Centre:
    """Where the services are that a network has once, by the files that `p2sp site init` wrote."""
    site = load_config(folder / "site.toml", _Site)
    manager = load_config(folder / "manager.toml", _Manager)
    return Centre(site.index, site.trackers[0], manager.statistics, site.manager)


def renew_site(folder: Path, now: datetime | None = None) -> list[str]:
    """Fresh certificates for all keys that a network's authority has signed; a line for each.

    Node ids, roles and names stay the same. Raises ConfigError or BadIdentity.
    """
    authority = NetworkFolder.existing(folder).authority
    trust = Trust((authority.certificate,))
    lines = []
    for path in sorted((folder / PKI).glob("*.pem")):
        if path.name in ("ca.pem", "ca-key.pem"):
            continue
        identity = load_identity(path)
        if not trust.examine(identity.certificate).roles:
            lines.append(f"{path}: left alone, this authority did not sign it")
            continue
        renewed = authority.renew(identity, now=now)
        save_identity(renewed, path)
        lines.append(f"{path}: good until {renewed.certificate.not_valid_after_utc:%Y-%m-%d}")
    return [*lines, "Services read their certificate when they start: bring each where it runs, and restart it."]
