"""How does `twistd` start a peer daemon?"""

from pathlib import Path
from typing import ClassVar, cast

import msgspec
from twisted.application.service import IService

from p2sp.ops.tap import RoleOptions, clean_exit
from p2sp.peer.config import PeerConfig, check_config
from p2sp.peer.service import make_service


class Options(RoleOptions):
    """`twistd p2sp-peer --config FILE`."""

    role: ClassVar[str] = "peer"
    config_type: ClassVar[type[msgspec.Struct]] = PeerConfig

    def check(self, config: msgspec.Struct, config_path: Path) -> None:
        """Look deeper than types can."""
        check_config(cast(PeerConfig, config), config_path)


def makeService(options: Options) -> IService:
    """The service for the parsed options."""
    from twisted.internet import reactor

    with clean_exit("peer"):
        return make_service(cast(PeerConfig, options.config), options.config_path, reactor)
