"""Is what waits to be sent kept as short as the connection is slow?"""

import socket

from hypothesis import given
from hypothesis import strategies as st

from p2sp.net.sending import LATE, LEAST, MOST, SOON, SendBuffer


class Transport:
    """As much of a Twisted transport as counts here, below `layers` of TLS."""

    def __init__(self, handle: socket.socket) -> None:
        self.bufferSize = 64 * 1024
        self._handle = handle

    def getHandle(self) -> socket.socket:
        return self._handle


class Layer:
    def __init__(self, transport: object) -> None:
        self.transport = transport


def test_it_begins_with_one_block_and_grows_on_a_fast_connection() -> None:
    with socket.socket() as handle:
        below = Transport(handle)
        buffer = SendBuffer()
        buffer.limit(Layer(Layer(below)))
        sizes = [below.bufferSize]
        for turn in range(6):
            buffer.filled(turn)
            buffer.drained(turn + SOON / 2)
            sizes.append(below.bufferSize)
            assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == below.bufferSize
        assert sizes == [LEAST, 2 * LEAST, 4 * LEAST, 8 * LEAST, MOST, MOST, MOST]


def test_it_shrinks_on_a_slow_one() -> None:
    buffer = SendBuffer()
    buffer.size = MOST
    for turn in range(9):
        buffer.filled(10 * turn)
        buffer.drained(10 * turn + 2 * LATE)
    assert buffer.size == LEAST


def test_a_closed_socket_is_no_error() -> None:
    handle = socket.socket()
    handle.close()
    below = Transport(handle)
    SendBuffer().limit(below)
    assert below.bufferSize == LEAST


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3))))
def test_the_size_stays_in_bounds(course: list[tuple[bool, float]]) -> None:
    buffer, now = SendBuffer(), 0.0
    for full, seconds in course:
        now += seconds
        buffer.filled(now) if full else buffer.drained(now)
        assert LEAST <= buffer.size <= MOST
