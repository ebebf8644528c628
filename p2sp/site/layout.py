"""Which files make a network: keys, network map, a configuration for each role, and what clients need?"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from p2sp.locality.network_map import NetworkMap
from p2sp.net.authority import Authority
from p2sp.net.files import write_private
from p2sp.net.identity import Identity, save_identity
from p2sp.ops.config import ConfigError

PKI = "pki"
MAP = "network-map.json"


@attrs.frozen
class Service:
    """One service of a network: its role, the name of its files, where it listens, and its other settings.

    `address` is in its certificate; `settings` become lines of its configuration, each value with a word on it.
    """

    role: str
    name: str
    address: str
    port: int
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def url(self) -> str:
        """Where others reach it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"https://{host}:{self.port}"

    @property
    def listen(self) -> str:
        """What it binds: its address, or every one when it is known by a name."""
        if re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]+", self.address):
            return self.url.removeprefix("https://")
        return f"*:{self.port}"


class NetworkFolder:
    """A network's folder, being written. `state` is where services keep what they write, None for within it.

    Made with a `name`, it is a new network; see `existing`. Raises ConfigError where there is one already.
    """

    def __init__(self, folder: Path, name: str, state: str | None = None, authority: Authority | None = None) -> None:
        self.folder = folder
        self._state = state
        if authority is None:
            pki = folder / PKI
            if (pki / "ca.pem").exists():
                raise ConfigError(pki / "ca.pem", "there is a network here already; choose another folder")
            pki.mkdir(parents=True, exist_ok=True)
            authority = Authority.create(name)
            authority.save(pki)
        self.authority = authority

    @classmethod
    def existing(cls, folder: Path, state: str | None = None) -> Self:
        """A network that is there, with the authority's key. Raises BadIdentity naming the file that is missing."""
        return cls(folder, "", state, Authority.load(folder / PKI))

    def write_map(self, isps: Mapping[str, Sequence[str]]) -> None:
        """The ALTO network map of these ISPs. Raises ValueError naming the prefix that is wrong."""
        (self.folder / MAP).write_bytes(map_of(isps))

    def key(self, role: str, name: str, hosts: Sequence[str] = ()) -> Identity:
        """A key with a certificate for a role, in `pki/NAME.pem`."""
        identity = self.authority.issue(role, list(hosts), name)
        save_identity(identity, self.folder / PKI / f"{name}.pem")
        return identity

    def service(self, service: Service) -> Path:
        """Key and configuration of a service; the configuration's path."""
        if service.role != "peer":
            self.key(service.role, service.name, [service.address])
        # Elsewhere it is as systemd has it: a folder for each role, and nothing beside it can be written.
        apart = f"{self._state}/{service.role}" if self._state is not None else None
        base = {
            "listen": service.listen,
            "identity": f"{PKI}/{service.name}.pem",
            "authority": f"{PKI}/ca.pem",
            "state": apart or f"state/{service.name}",
        }
        settings = dict(service.settings)
        if apart is not None and service.role == "peer":
            base["identity"] = f"{apart}/peer.pem"
            settings["folder"] = f"{apart}/{settings['folder']}"
        head = f"twistd -n p2sp-{service.role} --config {service.name}.toml"
        return self.write(f"{service.name}.toml", {**base, **settings}, head)

    def write(self, name: str, values: Mapping[str, Any], head: str) -> Path:
        """A TOML file with one comment line on top; its path."""
        lines = [f"# {head}", ""]
        lines += [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
        path = self.folder / name
        write_private(path, ("\n".join(lines) + "\n").encode(), mode=0o644)
        return path


def map_of(isps: Mapping[str, Sequence[str]]) -> bytes:
    """The ALTO network map (RFC 7285) of ISPs and their prefixes. Raises ValueError naming the prefix that is wrong."""
    groups = {
        isp: {
            family: prefixes
            for family, mark in (("ipv4", False), ("ipv6", True))
            if (prefixes := [prefix for prefix in prefixes_of if (":" in prefix) is mark])
        }
        for isp, prefixes_of in isps.items()
    }
    document = {"meta": {"vtag": {"resource-id": "network-map", "tag": "1"}}, "network-map": groups}
    text = json.dumps(document, indent=2).encode()
    NetworkMap.decode(text)
    return text + b"\n"


def _toml(value: Any) -> str:
    """A value as TOML writes it: strings, numbers, booleans and lists of them are JSON's, but for two things.

    TOML knows no surrogate pairs, and takes no DEL as it is. A mapping becomes an inline table.
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
