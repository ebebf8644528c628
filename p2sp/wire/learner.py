"""Whom do we ask for which part of a descriptor that we do not know yet?"""

from collections.abc import Collection
from typing import Final

from p2sp.resource.descriptor import Descriptor
from p2sp.wire.messages import HashRequest
from p2sp.wire.metadata import InfoAssembly, LayerPlan
from p2sp.wire.session import Session

PATIENCE: Final = 15.0
"""Seconds to wait for an answer before somebody else is asked."""

AVOID: Final = 60.0
"""Seconds not to ask again a side that did not answer or refused."""

_PARTS_AT_ONCE: Final = 8
_RUNS_AT_ONCE: Final = 4


class Learner:
    """Learns one resource's descriptor over the sessions of its links.

    The info dict comes from one side at a time, so that a wrong one has an author; piece layers come from everybody,
    since each run proves itself. `now` is any steady count of seconds.
    """

    def __init__(self, resource_id: bytes, descriptor: Descriptor | None = None) -> None:
        self._resource_id = resource_id
        self._plan = LayerPlan(descriptor) if descriptor else None
        self._teacher: Session | None = None
        self._assembly: InfoAssembly | None = None
        self._heard = 0.0
        self._avoided: dict[Session, float] = {}
        self._asked: dict[HashRequest, tuple[Session, float]] = {}

    def found(self) -> Descriptor | None:
        """The descriptor with all its piece layers, once it is known."""
        return self._plan.finish() if self._plan is not None and self._plan.complete else None

    @property
    def private(self) -> bool:
        """Whether the resource is private, as far as it is known."""
        return self._plan is not None and self._plan.descriptor.private

    def ask(self, sessions: Collection[Session], now: float) -> None:
        """Give up on who is silent, and ask what can be asked now."""
        self._avoided = {session: until for session, until in self._avoided.items() if until > now}
        if self._plan is None:
            self._ask_info(sessions, now)
        else:
            self._ask_layers(self._plan, sessions, now)

    def part(self, session: Session, part: int, data: bytes, now: float) -> None:
        """Take a part of the info dict. Raises RemoteProtocolError when it is shown to be wrong, and DescriptorError
        when the resource itself is."""
        if session is not self._teacher or self._assembly is None:
            return
        self._heard = now
        self._assembly.put(part, data)
        if not self._assembly.missing:
            assembly, self._teacher, self._assembly = self._assembly, None, None
            self._plan = LayerPlan(assembly.finish())

    def hashes(self, request: HashRequest, hashes: bytes) -> None:
        """Take a run of hashes. Raises RemoteProtocolError when it is wrong."""
        if self._plan is not None:
            self._forget(request)
            self._plan.put(request, hashes)

    def refused(self, session: Session, request: HashRequest | None, now: float) -> None:
        """A side will not give a run of hashes, or (None) the info dict."""
        self._avoided[session] = now + AVOID
        if request is None:
            if session is self._teacher:
                self._teacher = self._assembly = None
        else:
            self._forget(request)

    def gone(self, session: Session) -> None:
        """A link ended: what it owed is to be asked of others."""
        if session is self._teacher:
            self._teacher = self._assembly = None
        for request in [request for request, (asked, _) in self._asked.items() if asked is session]:
            self._forget(request)

    def _forget(self, request: HashRequest) -> None:
        if self._asked.pop(request, None) is not None and self._plan is not None:
            self._plan.give_back(request)

    def _ask_info(self, sessions: Collection[Session], now: float) -> None:
        if self._teacher is not None and now - self._heard >= PATIENCE:
            self.refused(self._teacher, None, now)
        if self._teacher is None:
            able = (s for s in sessions if s.metadata_offered and s not in self._avoided)
            self._teacher = next(able, None)
            if self._teacher is None or self._teacher.metadata_offered is None:
                return
            self._assembly = InfoAssembly(self._resource_id, self._teacher.metadata_offered)
            self._heard = now
        if self._assembly is None or self._teacher.metadata_offered != self._assembly.size:
            self.refused(self._teacher, None, now)
            return
        for part in self._assembly.missing[:_PARTS_AT_ONCE]:
            if part not in self._teacher.parts_asked:
                self._teacher.ask_metadata(part)

    def _ask_layers(self, plan: LayerPlan, sessions: Collection[Session], now: float) -> None:
        for request, (session, since) in list(self._asked.items()):
            if now - since >= PATIENCE:
                self.refused(session, request, now)
        for session in sessions:
            while session not in self._avoided and session.abilities and len(session.hashes_asked) < _RUNS_AT_ONCE:
                run = plan.next()
                if run is None:
                    return
                if run in session.hashes_asked:
                    plan.give_back(run)
                    break
                self._asked[run] = (session, now)
                session.ask_hashes(run)
