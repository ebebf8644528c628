"""How are several TARGETs fetched side by side, and who is told how each of them ended?"""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import Random
from time import time
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults

from p2sp.cli.get import Getter, Outcome
from p2sp.cli.hooks import run_hook
from p2sp.cli.progress import Progress
from p2sp.cli.unfinished import Unfinished
from p2sp.cli.wanted import Wish
from p2sp.download.node import Node
from p2sp.download.report import ExitCode
from p2sp.download.server_memory import default_path as servers_path
from p2sp.download.server_memory import load as load_servers
from p2sp.download.server_memory import save as save_servers


class Batch:
    """Fetches wishes with one node, whose limits they share, `jobs` at a time."""

    def __init__(self, reactor: Any, wishes: Sequence[Wish], view: Progress, book: Unfinished | None = None) -> None:
        self._reactor = reactor
        self._view = view
        self._book = book or Unfinished.default()
        self._wishes = wishes
        self._waiting = deque(enumerate(wishes))
        self._codes: dict[int, int] = {}
        # What concerns the node is the same in all of them.
        options = wishes[0].options
        self._jobs = options.jobs
        site = options.site
        self._node = Node(
            reactor,
            rng=Random(),
            trust=site.trust if site is not None else None,
            index=site.file.index if site is not None else None,
            trackers=site.file.trackers if site is not None else (),
            address=options.address,
            listen=(options.address or "0.0.0.0", 0) if site is not None or options.clear_text else None,  # noqa: S104 - peers come from anywhere
            clear_text=options.clear_text,
            lan=options.lan and site is not None,
            max_upload=options.max_upload,
            max_download=options.max_download,
            connections=options.connections,
            authorities=options.authorities,
            credentials=options.credentials,
            proxy=options.proxy,
        )

    async def run(self) -> int:
        """Fetch them all; the exit code of the first that failed, in the order they were given, or 0."""
        self._node.start()
        known = servers_path()
        workers: list[Deferred[None]] = []
        try:
            self._node.memory = await self._node.pool.run(load_servers, known)
            workers = [Deferred.fromCoroutine(self._work()) for _ in range(min(self._jobs, len(self._wishes)))]
            await gatherResults(workers, consumeErrors=True)
        except FirstError as error:
            # What is wrong with one is wrong with the program: the others end in order.
            for each in workers:
                each.cancel()
            await DeferredList(workers, consumeErrors=True)
            error.subFailure.raiseException()
        finally:
            self._view.close()
            if self._node.memory is not None:
                await self._node.pool.run(save_servers, known, self._node.memory, time())
            await self._node.stop()
        return next((code for _, code in sorted(self._codes.items()) if code), ExitCode.OK)

    async def _work(self) -> None:
        while self._waiting:
            at, wish = self._waiting.popleft()
            getter = Getter(self._node, wish.options, self._view, self._book, alone=len(self._wishes) == 1)
            outcome = await getter.get(wish.text, wish.target)
            self._codes[at] = outcome.code
            if outcome.code == ExitCode.INTERRUPTED:
                # A second Ctrl-C is not needed for the rest.
                self._waiting.clear()
                return
            await self._tell(wish, outcome)

    async def _tell(self, wish: Wish, outcome: Outcome) -> None:
        command = wish.options.on_error if outcome.code else wish.options.on_complete
        if not command:
            return
        words = {
            "P2SP_TARGET": wish.text,
            "P2SP_PATH": _path(outcome.path),
            "P2SP_CODE": str(outcome.code),
            "P2SP_ERROR": outcome.error or "",
        }
        problem = await run_hook(self._reactor, command, words)
        if problem is not None:
            self._view.say(f"--on-{'error' if outcome.code else 'complete'}: {problem}")


def _path(path: str | None) -> str:
    return str(Path(path).absolute()) if path is not None and path != "-" else path or ""
