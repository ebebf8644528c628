"""How does `twistd` start a resource index?"""

from pathlib import Path
from typing import ClassVar, cast

import msgspec
from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime

from p2sp.index.config import IndexConfig, check_config
from p2sp.index.service import make_service
from p2sp.ops.tap import RoleOptions, clean_exit


class Options(RoleOptions):
    """`twistd p2sp-index --config FILE`."""

    role: ClassVar[str] = "index"
    config_type: ClassVar[type[msgspec.Struct]] = IndexConfig

    def check(self, config: msgspec.Struct, config_path: Path) -> None:
        """Look deeper than types can."""
        check_config(cast(IndexConfig, config), config_path)


def makeService(options: Options) -> IService:
    """The service for the parsed options."""
    from twisted.internet import reactor

    with clean_exit("index"):
        return make_service(cast(IndexConfig, options.config), options.config_path, cast(IReactorTime, reactor))
