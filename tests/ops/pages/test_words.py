"""Are numbers put into words that people read at a glance?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.ops.pages import words


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (10_230, "9.99 KiB"),
        (10_240, "10.0 KiB"),
        (999 * 1024, "999 KiB"),
        (64 << 20, "64.0 MiB"),
        (5 << 40, "5.00 TiB"),
        (2**62, "4.00 EiB"),
    ],
)
def test_bytes(count: int, said: str) -> None:
    assert words.in_bytes(count) == said


@given(st.integers(min_value=0, max_value=2**63))
def test_bytes_are_short_whatever_they_are(count: int) -> None:
    number, unit = words.in_bytes(count).split(" ")
    assert float(number) < 1000 or unit == "EiB"
    assert len(number) <= 5


@pytest.mark.parametrize(
    ("share", "said"), [(0, "0 %"), (0.001, "< 1 %"), (0.5, "50 %"), (0.996, "> 99 %"), (1, "100 %")]
)
def test_percent(share: float, said: str) -> None:
    assert words.in_percent(share) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (1.0, "1 s"), (1.25, "1.2 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_time(seconds: float, said: str) -> None:
    assert words.in_time(seconds) == said


def test_the_rest() -> None:
    assert words.in_rate(0) == "-"
    assert words.in_rate(2 << 20) == "2.00 MiB/s"
    assert words.on_axis(3 << 20) == "3 MiB/s"
    assert words.in_ago(100.0, 99.0) == "0 s ago"
    assert words.at_clock(1_800_000_000.0) == "08:00:00"
    assert words.at_clock(1_800_000_000.0, window=3600) == "08:00"
    assert words.at_clock(1_800_000_000.0, window=604_800) == "15 Jan 08:00"
    assert words.of_isp(None) == words.of_isp("") == "unknown"
