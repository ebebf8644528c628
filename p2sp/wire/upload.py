"""How do stored bytes get onto a link, no faster than they may and can?"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import attrs
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.net.throttle import TokenBucket
from p2sp.storage.interfaces import IPieceStore, StorageError
from p2sp.wire.messages import HashRequest, Request
from p2sp.wire.metadata import Library
from p2sp.wire.order import Queue
from p2sp.wire.session import Session

RUN: Final = 256 * 1024
"""Bytes read from the store at a time, when requests follow one another, and the link's buffer takes as much."""

READS: Final = 2
"""Runs of one link that are being read or wait to be sent."""

READS_OF_ALL: Final = 4
"""Runs of all links together that are being read: what a download writes meanwhile waits for no more than these."""

QUESTIONS: Final = 64
"""Requests for metadata and hashes of one link that wait; more are rejected."""


class Offer(Protocol):
    """What there is to upload from; both may come to be known while links are up."""

    @property
    def store(self) -> IPieceStore | None:
        """Where the pieces are."""

    @property
    def library(self) -> Library | None:
        """What is known of the descriptor."""


class Gate:
    """Where the uploads of all links meet: at the disk, which they read in turns, and below a rate, one block a turn.

    Without a bucket there is no rate to be kept, and blocks are sent as they come.
    """

    def __init__(self, clock: IReactorTime, bucket: TokenBucket | None) -> None:
        self._clock = clock
        self._bucket = bucket
        self._rotation: deque[Uploader] = deque()
        self._call: IDelayedCall | None = None
        self._turning = False
        self._reading = 0
        self._readers: deque[Uploader] = deque()
        self._next: Uploader | None = None

    def may_read(self, uploader: "Uploader") -> bool:
        """Whether a run may be read now, to be followed by `has_read`; if not, the uploader is pumped in its turn."""
        if self._reading < READS_OF_ALL and (not self._readers or uploader is self._next):
            self._next = None
            self._reading += 1
            return True
        if uploader not in self._readers:
            self._readers.append(uploader)
        return False

    def has_read(self) -> None:
        """A run has been read, or could not be: whoever has waited longest may read one."""
        self._reading -= 1
        while self._readers and self._reading < READS_OF_ALL:
            self._next = self._readers.popleft()
            self._next.pump()
        self._next = None

    @property
    def unlimited(self) -> bool:
        """Whether blocks may be sent as they come."""
        return self._bucket is None

    def enter(self, uploader: "Uploader") -> None:
        """Take turns with the others, as long as there are blocks."""
        if uploader not in self._rotation:
            self._rotation.append(uploader)
        if self._call is None and not self._turning:
            self._turn()

    def leave(self, uploader: "Uploader") -> None:
        """Take no more turns."""
        for row in (self._rotation, self._readers):
            if uploader in row:
                row.remove(uploader)

    def close(self) -> None:
        """Forget everybody."""
        self._rotation.clear()
        self._readers.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _turn(self) -> None:
        self._call = None
        # Sending a block may make the uploader enter again.
        self._turning = True
        try:
            wait = self._send_some()
        finally:
            self._turning = False
        if wait > 0:
            self._call = self._clock.callLater(wait, self._turn)

    def _send_some(self) -> float:
        """Send until the rate is used up or nobody has a block; the seconds to wait before more."""
        assert self._bucket is not None
        wait = 0.0
        while self._rotation and not wait:
            uploader = self._rotation.popleft()
            count = uploader.send_block()
            if count:
                if uploader in self._rotation:
                    self._rotation.remove(uploader)
                self._rotation.append(uploader)
                wait = self._bucket.take(count, self._clock.seconds())
        return wait


@attrs.frozen(eq=False)
class _Run:
    """Requests for bytes that follow one another, read at once."""

    requests: list[Request]

    @property
    def length(self) -> int:
        return sum(request.length for request in self.requests)


class Uploader:
    """Answers the requests of one link, each once, from the store and the descriptor.

    While paused it begins nothing; what is being read then is still sent, at most `READS` runs. `room` tells how many
    bytes the link sends in a moment: what was handed to it cannot be taken back. `copies` tells how many copies of a
    piece are near us.
    """

    _log = Logger()

    def __init__(
        self,
        session: Session,
        offer: Offer,
        gate: Gate,
        *,
        flush: Callable[[], None],
        uploaded: Callable[[int], None],
        room: Callable[[], int] = lambda: RUN,
        copies: Callable[[int], int] = lambda piece: 0,
    ) -> None:
        self._session = session
        self._offer = offer
        self._gate = gate
        self._flush = flush
        self._uploaded = uploaded
        self._room = room
        self._requests = Queue(copies)
        self._questions: deque[int | HashRequest] = deque()
        self._ready: deque[tuple[Request, memoryview, bool]] = deque()
        self._runs = 0
        self._looking_up = False
        self._paused = False
        self._stopped = False
        self._pumping = False

    def wanted(self, request: Request) -> None:
        """Take a request the session let pass."""
        self._requests.add(request)

    def asked(self, question: int | HashRequest) -> None:
        """Take a request for a part of the info dict, or for hashes."""
        if len(self._questions) < QUESTIONS:
            self._questions.append(question)
        else:
            self._tell(question, answered=False)

    def pause(self) -> None:
        """The transport is full."""
        self._paused = True

    def resume(self) -> None:
        """The transport takes bytes again."""
        self._paused = False
        if self._ready:
            self._gate.enter(self)
        self.pump()

    def stop(self) -> None:
        """The link is gone: forget everything."""
        self._stopped = True
        self._requests.clear()
        self._questions.clear()
        self._ready.clear()
        self._gate.leave(self)

    def pump(self) -> None:
        """Begin whatever may be begun."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._questions and not self._paused and not self._stopped and not self._looking_up:
                self._answer(self._questions.popleft())
                self._flush()
            while self._runs < READS and not self._paused and not self._stopped:
                self._drop_what_cannot_be_read()
                if not self._requests or not self._gate.may_read(self):
                    break
                self._read(self._next_run())
            # Refusals have to go out as well.
            self._flush()
        finally:
            self._pumping = False

    def send_block(self) -> int:
        """Send one block in a turn of the gate; how many bytes it has, 0 when there is none to send now."""
        sent = 0
        while self._ready and not self._paused and not sent:
            request, data, last = self._ready.popleft()
            sent = self._send(request, data)
            self._flush()
            if last:
                self._runs -= 1
                self.pump()
        return sent

    def _drop_what_cannot_be_read(self) -> None:
        store = self._offer.store
        while self._requests:
            first = self._requests.first
            if first in self._session.pending:
                if store is not None and store.has(first.piece):
                    return
                self._session.refuse(first)
            self._requests.take()

    def _next_run(self) -> _Run:
        first = last = self._requests.take()
        run = [first]
        most = min(RUN, self._room())
        while last.begin + last.length - first.begin < most:
            following = self._requests.take_behind(last)
            if following is None or following not in self._session.pending:
                break
            run.append(following)
            last = following
        return _Run(run)

    def _read(self, run: _Run) -> None:
        store = self._offer.store
        assert store is not None
        self._runs += 1
        first = run.requests[0]
        layout = store.content.layout
        position = layout.piece_start(first.piece) + first.begin
        there = min(run.length, layout.piece_size(first.piece) - first.begin)
        reading: Deferred[bytes] = maybeDeferred(store.read, position, there) if there > 0 else succeed(b"")
        reading.addCallbacks(self._have_read, self._cannot_read, callbackArgs=(run,), errbackArgs=(run,))
        reading.addErrback(self._failed)
        # Only when this run has been dealt with: others may be read at once.
        reading.addCallback(lambda _: self._gate.has_read())

    def _have_read(self, data: bytes, run: _Run) -> None:
        if self._stopped:
            return
        # What a hybrid's pieces are filled with is zeros, and lies nowhere.
        view = memoryview(data.ljust(run.length, b"\0"))
        at = 0
        for request in run.requests:
            block = view[at : at + request.length]
            at += request.length
            if self._gate.unlimited:
                self._send(request, block)
            else:
                self._ready.append((request, block, request is run.requests[-1]))
        if self._gate.unlimited:
            self._runs -= 1
            self._flush()
            self.pump()
        else:
            self._gate.enter(self)

    def _cannot_read(self, failure: Failure, run: _Run) -> None:
        self._log.warn("cannot read what a peer asks for: {reason}", reason=failure.getErrorMessage())
        self._runs -= 1
        if self._stopped:
            return
        for request in run.requests:
            self._session.refuse(request)
        self._flush()
        self.pump()

    def _failed(self, failure: Failure) -> None:
        self._log.failure("an upload failed", failure)

    def _send(self, request: Request, data: memoryview) -> int:
        if not self._session.answer(request, data):
            return 0
        self._uploaded(len(data))
        return len(data)

    def _answer(self, question: int | HashRequest) -> None:
        library, store = self._offer.library, self._offer.store
        pieces = library.pieces_for(question) if library and isinstance(question, HashRequest) else None
        if library and store and pieces and isinstance(question, HashRequest) and all(map(store.has, pieces)):
            # One at a time: what is not kept has to be hashed anew.
            self._looking_up = True
            looking = Deferred.fromCoroutine(self._look_up(library, store, pieces, question))
            looking.addErrback(self._failed)
        else:
            self._tell(question, answered=not pieces)

    async def _look_up(self, library: Library, store: IPieceStore, pieces: range, question: HashRequest) -> None:
        """Answer a question that takes the leaf hashes of pieces."""
        hashes = None
        try:
            leaves = [leaf for piece in pieces for leaf in await store.leaves(piece)]
            hashes = library.hashes(question, leaves)
        except StorageError as error:
            self._log.warn("cannot tell hashes that a peer asks for: {reason}", reason=str(error))
        self._looking_up = False
        if not self._stopped:
            self._session.give_hashes(question, hashes)
            self._flush()
            self.pump()

    def _tell(self, question: int | HashRequest, *, answered: bool) -> None:
        library = self._offer.library if answered else None
        if isinstance(question, int):
            self._session.give_metadata(question, library.part(question) if library else None)
        else:
            self._session.give_hashes(question, library.hashes(question) if library else None)
