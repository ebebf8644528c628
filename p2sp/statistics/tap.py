"""How does `twistd` start a statistics server?"""

from pathlib import Path
from typing import ClassVar, cast

import msgspec
from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime

from p2sp.ops.tap import RoleOptions, clean_exit
from p2sp.statistics.config import StatisticsConfig, check_config
from p2sp.statistics.service import make_service


class Options(RoleOptions):
    """`twistd p2sp-statistics --config FILE`."""

    role: ClassVar[str] = "statistics"
    config_type: ClassVar[type[msgspec.Struct]] = StatisticsConfig

    def check(self, config: msgspec.Struct, config_path: Path) -> None:
        """Look deeper than types can."""
        check_config(cast(StatisticsConfig, config), config_path)


def makeService(options: Options) -> IService:
    """The service for the parsed options."""
    from twisted.internet import reactor

    with clean_exit("statistics"):
        return make_service(cast(StatisticsConfig, options.config), options.config_path, cast(IReactorTime, reactor))
