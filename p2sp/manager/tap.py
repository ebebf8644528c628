"""How does `twistd` start a manager?"""

from pathlib import Path
from typing import ClassVar, cast

import msgspec
from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime

from p2sp.manager.config import ManagerConfig, check_config
from p2sp.manager.service import make_service
from p2sp.ops.tap import RoleOptions, clean_exit


class Options(RoleOptions):
    """`twistd p2sp-manager --config FILE`."""

    role: ClassVar[str] = "manager"
    config_type: ClassVar[type[msgspec.Struct]] = ManagerConfig

    def check(self, config: msgspec.Struct, config_path: Path) -> None:
        """Look deeper than types can."""
        check_config(cast(ManagerConfig, config), config_path)


def makeService(options: Options) -> IService:
    """The service for the parsed options."""
    from twisted.internet import reactor

    with clean_exit("manager"):
        return make_service(cast(ManagerConfig, options.config), options.config_path, cast(IReactorTime, reactor))
