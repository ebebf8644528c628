"""How does `twistd` start a whole site?"""

from pathlib import Path
from typing import ClassVar, cast

import msgspec
from twisted.application.service import IService

from p2sp.ops.config import ConfigError
from p2sp.ops.tap import RoleOptions, clean_exit
from p2sp.site.config import SiteConfig, load_roles
from p2sp.site.service import make_service


class Options(RoleOptions):
    """`twistd p2sp-site --config FILE`."""

    role: ClassVar[str] = "site"
    config_type: ClassVar[type[msgspec.Struct]] = SiteConfig

    def load(self, config_path: Path) -> msgspec.Struct:
        """Read the configuration. Raises ConfigError, also for the file that clients are given."""
        try:
            return super().load(config_path)
        except ConfigError as error:
            if config_path.name == "site.toml" and config_path.with_name("p2sp-site.toml").exists():
                hint = "site.toml is for clients, the configuration of the services is p2sp-site.toml beside it"
                raise ConfigError(config_path, f"{error.message}; {hint}") from error
            raise

    def check(self, config: msgspec.Struct, config_path: Path) -> None:
        """Look deeper than types can: into each role's own file."""
        load_roles(cast(SiteConfig, config), config_path)


def makeService(options: Options) -> IService:
    """The service for the parsed options."""
    from twisted.internet import reactor

    with clean_exit("site"):
        return make_service(cast(SiteConfig, options.config), options.config_path, reactor)
