"""How does `twistd` start a super node?"""

from pathlib import Path
from typing import ClassVar, cast

import msgspec
from twisted.application.service import IService

from p2sp.ops.tap import RoleOptions, clean_exit
from p2sp.supernode.config import SuperNodeConfig, check_config
from p2sp.supernode.service import make_service


class Options(RoleOptions):
    """`twistd p2sp-supernode --config FILE`."""

    role: ClassVar[str] = "supernode"
    config_type: ClassVar[type[msgspec.Struct]] = SuperNodeConfig

    def check(self, config: msgspec.Struct, config_path: Path) -> None:
        """Look deeper than types can."""
        check_config(cast(SuperNodeConfig, config), config_path)


def makeService(options: Options) -> IService:
    """The service for the parsed options."""
    from twisted.internet import reactor

    with clean_exit("supernode"):
        return make_service(cast(SuperNodeConfig, options.config), options.config_path, reactor)
