"""How does `twistd` start a tracker?"""

from pathlib import Path
from typing import ClassVar, cast

import msgspec
from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime

from p2sp.ops.tap import RoleOptions, clean_exit
from p2sp.tracker.config import TrackerConfig, check_config
from p2sp.tracker.service import make_service


class Options(RoleOptions):
    """`twistd p2sp-tracker --config FILE`."""

    role: ClassVar[str] = "tracker"
    config_type: ClassVar[type[msgspec.Struct]] = TrackerConfig

    def check(self, config: msgspec.Struct, config_path: Path) -> None:
        """Look deeper than types can, into the network map too."""
        check_config(cast(TrackerConfig, config), config_path)


def makeService(options: Options) -> IService:
    """The service for the parsed options."""
    from twisted.internet import reactor

    with clean_exit("tracker"):
        return make_service(cast(TrackerConfig, options.config), options.config_path, cast(IReactorTime, reactor))
