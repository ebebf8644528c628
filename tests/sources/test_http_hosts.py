"""Is a host asked for as many connections as are of use, and for fewer when it says no?"""

from hypothesis import given
from hypothesis import strategies as st

from p2sp.sources.http_hosts import AGAIN, CLEAN, MAX_HOSTS, MEASURE, Host, Hosts


def deliver(host: Host, rate: float, start: float, seconds: float) -> list[float]:
    """Bytes at an even rate, a hundred times a second; the times at which it may be asked for more connections."""
    steps = int(seconds * 100)
    times = [start + (step + 1) / 100 for step in range(steps)]
    return [now for now in times if host.arrived(int(rate / 100), now)]


def busy(count: int) -> Host:
    """A host that serves parts, with so many connections in use."""
    host = Host()
    host.serves_parts()
    host.busy = count
    return host


def test_one_connection_until_it_has_served_a_part() -> None:
    host = Host()
    assert host.allowed(4, 0.0) == 1
    host.serves_parts()
    assert host.allowed(4, 0.0) == 2
    assert host.allowed(1, 0.0) == 1


def test_more_connections_while_that_brings_more() -> None:
    host = busy(2)
    assert deliver(host, 1e6, 0.0, 2 * MEASURE)
    assert host.allowed(16, 1.0) == 4
    host.busy = 4
    assert deliver(host, 2e6, 2 * MEASURE, 2 * MEASURE)
    assert host.allowed(16, 2.0) == 8
    assert host.allowed(4, 2.0) == 4


def test_no_more_when_a_step_brought_nothing_until_later() -> None:
    host = busy(2)
    deliver(host, 1e6, 0.0, 2 * MEASURE)
    host.busy = 4
    assert deliver(host, 1.05e6, 2 * MEASURE, AGAIN - 1) == []
    assert host.allowed(16, AGAIN) == 4
    assert deliver(host, 1.05e6, AGAIN, 5.0) != []


def test_what_is_not_used_is_not_added_to() -> None:
    assert deliver(busy(1), 1e6, 0.0, 10.0) == []


def test_a_refusal_halves_and_time_heals() -> None:
    host = busy(2)
    deliver(host, 1e6, 0.0, 2 * MEASURE)
    host.busy = 4
    for _ in range(4):
        host.refused(1.0, None)
    assert host.refusing
    assert host.allowed(16, 1.0) == 2, "refusals side by side count once"
    assert host.allowed(16, 1.0 + CLEAN - 1) == 2
    assert host.allowed(16, 1.0 + CLEAN) == 3
    host.refused(2.5, None)
    assert host.allowed(16, 2.5) == 1


def test_nothing_before_it_wants_us_back() -> None:
    host = busy(2)
    host.refused(10.0, 5.0)
    host.refused(10.1, 2.0)
    assert (host.allowed(4, 14.9), host.waits(14.0)) == (0, 1.0)
    assert (host.allowed(4, 15.0), host.waits(15.0)) == (1, 0.0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["bytes", "no", "wait"]), st.integers(0, 10**9), st.floats(0, 50), st.integers(0, 16))
    ),
    st.integers(1, 16),
)
def test_never_more_than_allowed_and_never_none_without_a_reason(
    events: list[tuple[str, int, float, int]], most: int
) -> None:
    host, now = busy(0), 0.0
    for kind, count, passed, running in events:
        now += passed
        host.busy = running
        if kind == "bytes":
            host.arrived(count, now)
        else:
            host.refused(now, passed if kind == "wait" else None)
        assert 0 <= host.allowed(most, now) <= most
        assert host.allowed(most, now) or host.waits(now) > 0


def test_urls_of_one_host_share_what_is_known() -> None:
    hosts = Hosts()
    assert hosts.of("http://A.example/x") is hosts.of("HTTP://a.example/y?z")
    assert hosts.of("http://a.example:81/x") is not hosts.of("http://a.example/x")
    assert hosts.of("https://a.example/x") is not hosts.of("http://a.example/x")


def test_only_so_many_hosts_are_kept_and_none_that_is_in_use() -> None:
    hosts = Hosts()
    used = hosts.of("http://used.example/")
    used.busy = 1
    first = hosts.of("http://0.example/")
    for number in range(1, MAX_HOSTS + 5):
        hosts.of(f"http://{number}.example/")
    assert hosts.of("http://used.example/") is used
    assert hosts.of("http://0.example/") is not first
