"""How does a local tracker stay known at the global one?"""

from collections.abc import Awaitable, Callable

from msgspec import structs
from twisted.logger import Logger

from p2sp.net.errors import NetError
from p2sp.tracker.entry import Summary
from p2sp.tracker.schema import Registration, RegistrationAnswer, SwarmSummary


class Registrar:
    """Registers again and again; a global tracker that is away is news once, and no reason to stop.

    With `summarise` it also tells of the swarms here. `interval` is how many seconds the global tracker wants between
    two registrations, as far as it has said.
    """

    log = Logger()

    def __init__(
        self,
        register: Callable[[Registration], Awaitable[RegistrationAnswer]],
        registration: Registration,
        interval: float,
        summarise: Callable[[], Awaitable[list[Summary]]] | None = None,
    ) -> None:
        self.interval = interval
        self._register = register
        self._registration = registration
        self._summarise = summarise
        self._known: bool | None = None

    async def run(self) -> None:
        """Register once; never raises NetError."""
        try:
            answer = await self._register(await self._up_to_date())
        except NetError as error:
            if self._known is not False:
                self.log.warn("the global tracker does not know us: {error}", error=error)
            self._known = False
            return
        if not self._known:
            self.log.info("registered at the global tracker for {isps}", isps=", ".join(self._registration.isps[:10]))
        self._known = True
        self.interval = answer.interval

    async def _up_to_date(self) -> Registration:
        if self._summarise is None:
            return self._registration
        swarms = [SwarmSummary(each.resource, each.seeds, each.leeches) for each in await self._summarise()]
        return structs.replace(self._registration, swarms=swarms)
