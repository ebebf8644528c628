"""How do four roles live in one process, in good order?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.application import service
from twisted.internet.defer import Deferred

from p2sp.index.service import make_service as make_index
from p2sp.manager.service import make_service as make_manager
from p2sp.ops.service import RoleService
from p2sp.site.config import SiteConfig, load_roles
from p2sp.statistics.service import make_service as make_statistics
from p2sp.tracker.service import make_service as make_tracker

MAKERS: dict[str, Any] = {
    "index": make_index,
    "tracker": make_tracker,
    "statistics": make_statistics,
    "manager": make_manager,
}


class SiteService(service.Service):
    """Roles that start in order and stop in the opposite order, one after the other."""

    def __init__(self, roles: Sequence[RoleService]) -> None:
        self.roles = list(roles)

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        for role in self.roles:
            role.privilegedStartService()

    def startService(self) -> None:
        super().startService()
        for role in self.roles:
            role.startService()

    def stopService(self) -> "Deferred[None]":
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for role in reversed(self.roles):
            await role.stopService()


def make_service(config: SiteConfig, config_path: Path, reactor: Any) -> SiteService:
    """Index, tracker, statistics and manager in one process."""
    loaded = load_roles(config, config_path)
    return SiteService([MAKERS[role](values, path, reactor) for role, (values, path) in loaded.items()])
