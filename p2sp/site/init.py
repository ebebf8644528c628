"""How does somebody get a network of their own, with one command?"""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from p2sp.ops.config import ConfigError
from p2sp.site.layout import MAP, PKI, NetworkFolder, Service, map_of
from p2sp.site.services import METRICS, PAGES, Centre, page_url, shown, watched

HOME = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7", "fe80::/10")
"""What a network without ISPs of its own takes for one: everything that is not the public Internet."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_HOST: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


def check_place(host: str, last_port: int) -> None:
    """Raises ConfigError for what is neither an address nor a name, and for ports that do not exist."""
    try:
        ip_address(host)
    except ValueError:
        if _HOST.fullmatch(host) is None or re.fullmatch(r"[0-9.]+", host):
            raise ConfigError(f"--host {host}", "neither an IP address nor a host name") from None
    if last_port > 65535:
        raise ConfigError("--port", f"the last port used would be {last_port}")


def parse_isps(texts: Sequence[str]) -> dict[str, list[str]]:
    """`NAME=PREFIX[,PREFIX...]` items as a mapping. Raises ConfigError naming the item."""
    isps: dict[str, list[str]] = {}
    for text in texts:
        name, _, prefixes = text.partition("=")
        if not NAME.fullmatch(name) or not prefixes:
            raise ConfigError(f"--isp {text}", "is not NAME=PREFIX[,PREFIX...]")
        isps.setdefault(name, []).extend(prefix.strip() for prefix in prefixes.split(","))
    return isps or {"home": list(HOME)}


def init_site(folder: Path, host: str, port: int, isp_texts: Sequence[str], state: str | None = None) -> list[str]:
    """Write a network into `folder`; the lines that tell the user what to do with it.

    Ports from `port` on: index, tracker, statistics, manager, super node (HTTPS, wire), peer (HTTPS, wire); with
    several ISPs a local tracker for each from `port` + 10 on; on loopback the metrics of each are 1000 further, and the
    pages of statistics and manager 2000. `state` is where roles keep what they write, a folder
    for each; None for the folder `state` beside the configurations. Raises ConfigError.
    """
    isps = parse_isps(isp_texts)
    check_place(host, port + max(9 + len(isps) + METRICS if len(isps) > 1 else 0, 3 + PAGES))
    try:
        # Before anything is written: what is wrong here shall not leave half a network behind.
        map_of(isps)
    except ValueError as error:
        raise ConfigError("--isp", str(error)) from error
    files = NetworkFolder(folder, f"p2sp network at {host}", state)
    files.write_map(isps)
    index = Service("index", "index", host, port)
    statistics = Service("statistics", "statistics", host, port + 2)
    tracker = Service(
        "tracker", "tracker", host, port + 1, {"scope": "global", "network_map": MAP, "statistics": statistics.url}
    )
    manager = Service("manager", "manager", host, port + 3, {"statistics": statistics.url, "network_map": MAP})
    centre = Centre(index.url, tracker.url, statistics.url, manager.url)
    supernode = centre.supernode("supernode", host, port + 4)
    peer = centre.peer("peer", host, port + 6)
    pages = (
        shown(statistics, index.url, {"what lies where": manager}),
        shown(manager, index.url, {"what is downloaded": statistics}),
    )
    for service in (index, tracker, *pages, supernode, peer):
        files.service(watched(service))
    if len(isps) > 1:
        for offset, isp in enumerate(isps):
            files.service(watched(centre.local_tracker(f"tracker-{isp}", host, port + 10 + offset, isp)))
    files.key("publisher", "publisher")
    files.key("operator", "operator")
    files.write(
        "p2sp-site.toml",
        {name: f"{name}.toml" for name in ("index", "tracker", "statistics", "manager")},
        "twistd -n p2sp-site --config p2sp-site.toml",
    )
    files.write(
        "site.toml",
        {
            "authority": f"{PKI}/ca.pem",
            "index": index.url,
            "trackers": [tracker.url],
            "manager": manager.url,
            "publisher": f"{PKI}/publisher.pem",
        },
        "For clients: p2sp get --site site.toml TARGET. Who shall not publish gets a copy without `publisher`.",
    )
    return [
        f"A network stands in {folder}: authority and keys in {PKI}/, a configuration for each role, site.toml for "
        "clients.",
        "Next:",
        f"  twistd -n p2sp-site --config {folder}/p2sp-site.toml            index, tracker, statistics and manager",
        f"  twistd -n p2sp-supernode --config {folder}/supernode.toml       a cache",
        f"  p2sp publish --site {folder} FILE --mirror URL                  make a file known",
        f"  p2sp get --site {folder} ID                                     fetch it from everywhere",
        "  in a browser on the machine of these roles:",
        f"  {page_url(statistics)}      what is downloaded, how fast, from where",
        f"  {page_url(manager)}      what lies where, and why",
        f"  p2sp site add {folder} supernode --name NAME --host HOST --port PORT    one more cache",
        f"Keep {folder}/{PKI}/ca-key.pem safe: whoever has it can be any service of this network.",
    ]
