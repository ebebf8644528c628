"""How does `twistd` start a whole site?"""

from pathlib import Path
from typing import ClassVar, cast

import msgspec
from twisted.application.service import IService

from p2sp.ops.tap import RoleOptions, clean_exit
from p2sp.site.config import SiteConfig, load_roles
from p2sp.site.service import make_service


class Options(RoleOptions):
    """`twistd p2sp-site --config FILE`."""

    role: ClassVar[str] = "site"
    config_type: ClassVar[type[msgspec.Struct]] = SiteConfig

    def check(self, config: msgspec.Struct, config_path: Path) -> None:
        """Look deeper than types can: into each role's own file."""
        load_roles(cast(SiteConfig, config), config_path)


def makeService(options: Options) -> IService:
    """The service for the parsed options."""
    from twisted.internet import reactor

    with clean_exit("site"):
        return make_service(cast(SiteConfig, options.config), options.config_path, reactor)
