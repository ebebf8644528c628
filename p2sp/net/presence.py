"""Is the client still there for whom an answer is made?"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def work_for(request: Any, work: Coroutine[Deferred[Any], Any, T]) -> "tuple[Deferred[T], Callable[[], bool]]":
    """Work on a request of twisted.web; it is cancelled when the client goes away.

    Also how to ask whether it is still there: after that the request must not be touched.
    """
    working = Deferred.fromCoroutine(work)
    present = True

    def left(_: object) -> None:
        nonlocal present
        present = False
        working.cancel()

    request.notifyFinish().addErrback(left)
    return working, lambda: present
