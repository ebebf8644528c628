"""Is a local tracker handed out as long as it keeps registering, and to its own ISPs alone?"""

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.addresses import https_url
from p2sp.net.errors import Unreachable
from p2sp.tracker.registrar import Registrar
from p2sp.tracker.registry import MOST_PER_ISP, LocalTrackers, RegistryFull
from p2sp.tracker.schema import Registration, RegistrationAnswer, Scope, TrackerRef

A, B = "https://a.example:9002", "https://b.example:9002"


def urls(found: list[TrackerRef]) -> list[str]:
    assert all(each.scope is Scope.LOCAL for each in found)
    return [each.url for each in found]


def test_an_isp_gets_its_own_trackers() -> None:
    trackers = LocalTrackers(ttl=30.0)
    trackers.register("1", Registration(A + "/", ["x", "y"]), 0.0)
    trackers.register("2", Registration(B, ["y"]), 0.0)
    assert urls(trackers.serving("x", 0.0)) == [A]
    assert urls(trackers.serving("y", 0.0)) == [A, B]
    assert trackers.serving("z", 0.0) == []
    assert trackers.serving(None, 0.0) == []


def test_who_does_not_come_back_is_forgotten() -> None:
    trackers = LocalTrackers(ttl=30.0)
    trackers.register("1", Registration(A, ["x"]), 0.0)
    trackers.register("2", Registration(B, ["x"]), 10.0)
    trackers.register("1", Registration(A, ["x"]), 20.0)
    assert urls(trackers.serving("x", 39.9)) == [B, A]
    assert urls(trackers.serving("x", 40.0)) == [A]
    assert trackers.serving("x", 50.0) == []
    assert len(trackers) == 0


def test_registering_again_replaces() -> None:
    trackers = LocalTrackers(ttl=30.0)
    trackers.register("1", Registration(A, ["x", "x"]), 0.0)
    trackers.register("1", Registration(B, ["y"]), 1.0)
    assert trackers.serving("x", 1.0) == []
    assert urls(trackers.serving("y", 1.0)) == [B]


def test_one_url_under_two_keys_is_named_once() -> None:
    trackers = LocalTrackers(ttl=30.0)
    trackers.register("1", Registration(A, ["x"]), 0.0)
    trackers.register("2", Registration(A, ["x"]), 0.0)
    assert urls(trackers.serving("x", 0.0)) == [A]


def test_everything_is_bounded() -> None:
    trackers = LocalTrackers(ttl=30.0, most=20)
    for number in range(20):
        trackers.register(str(number), Registration(f"https://t{number}.example", ["x"]), 0.0)
    assert len(trackers.serving("x", 0.0)) == MOST_PER_ISP
    with pytest.raises(RegistryFull):
        trackers.register("one more", Registration(A, ["x"]), 0.0)
    trackers.register("3", Registration(A, ["z"]), 0.0)
    assert urls(trackers.serving("z", 0.0)) == [A]


@pytest.mark.parametrize(
    "url",
    ["", "http://a.example", "https://", "https://u:p@a.example", "https://a.example/?q", "https://a:b", "a.example"],
)
def test_a_url_that_clients_cannot_use_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"https|URL|host|query|name|port"):
        https_url(url if "?q" not in url else url + "=1")
    trackers = LocalTrackers(ttl=30.0)
    with pytest.raises(ValueError, match=r"."):
        trackers.register("1", Registration("ftp://a", ["x"]), 0.0)
    assert len(trackers) == 0


class RegistrarTests(SynchronousTestCase):
    """The local tracker's side."""

    def test_it_goes_on_while_the_global_tracker_is_away_and_follows_its_interval(self) -> None:
        error: Exception | None = Unreachable(A, "refused")
        asked: list[Registration] = []

        async def register(registration: Registration) -> RegistrationAnswer:
            asked.append(registration)
            if error is not None:
                raise error
            return RegistrationAnswer(interval=7.0)

        registrar = Registrar(register, Registration(B, ["x"]), 60.0)
        self.successResultOf(Deferred.fromCoroutine(registrar.run()))
        assert registrar.interval == 60.0
        error = None
        self.successResultOf(Deferred.fromCoroutine(registrar.run()))
        assert registrar.interval == 7.0
        assert asked == [Registration(B, ["x"])] * 2
