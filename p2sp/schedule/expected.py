"""Who is about to come, so that what he may bring is not fetched elsewhere before he is there?"""

from collections.abc import Iterable


class Expected:
    """Nodes of our ISP that were named and are being called, each until a time of its own, and word of more of them.

    Time is seconds on any steady clock.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._nodes: dict[str, tuple[float, bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def __contains__(self, node: str) -> bool:
        return node in self._nodes

    def listen(self, until: float) -> None:
        """Trackers are being asked for nodes, and answer before that time or are not waited for."""
        self._until = until

    def listens(self, now: float) -> bool:
        """Whether nobody has told yet if there are any nodes."""
        return now < self._until

    def add(self, node: str, until: float, *, whole: bool) -> None:
        """A node is being called; `whole` says that it has everything."""
        self._nodes[node] = until, whole

    def drop(self, node: str) -> bool:
        """A node is there, or does not come; whether it was expected."""
        return self._nodes.pop(node, None) is not None

    def overdue(self, now: float) -> Iterable[str]:
        """Those for whom we have waited long enough."""
        return [node for node, (until, _) in self._nodes.items() if until <= now]

    def is_whole(self, node: str) -> bool:
        """Whether a node that is expected has everything."""
        return self._nodes.get(node, (0.0, False))[1]

    @property
    def whole(self) -> bool:
        """Whether anybody is expected who has everything."""
        return any(whole for _, whole in self._nodes.values())
