"""Does the soak count, compare and draw lines as it says?"""

import http.client
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.soak.comparison import Line
from benchmarks.soak.origin import Counts
from benchmarks.soak.watch import slope
from tests.integration.lab import until
from tests.integration.processes import Process


def test_growth_is_what_lives_have_in_common_whatever_level_each_begins_at() -> None:
    assert slope([[(0.0, 5.0), (10.0, 7.0)], [(0.0, 100.0), (5.0, 101.0), (10.0, 102.0)]]) == pytest.approx(0.2)
    assert slope([[(3.0, 5.0)]]) == 0.0
    assert slope([]) == 0.0


@pytest.mark.parametrize(
    ("said", "truth", "good"), [(100, 100, True), (990, 1000, True), (989, 1000, False), (1, 0, False), (0, 0, True)]
)
def test_one_part_in_a_hundred_is_what_is_allowed(said: int, truth: int, good: bool) -> None:
    assert Line("x", said, truth).good is good
    assert Line("x", said, truth, binding=False).good


def test_counts_outlive_who_counts(tmp_path: Path) -> None:
    counts = Counts(tmp_path / "counts")
    counts.add("127.1.0.20", 5)
    counts.add("127.1.0.20", 6)
    counts.add("127.2.0.20", 7)
    again = Counts(tmp_path / "counts")
    assert (again.of("127.1.0.20"), again.of("127.2.0.20"), again.total) == (11, 7, 18)


@pytest.mark.integration
def test_the_origin_counts_what_it_sent_and_no_heads(tmp_path: Path) -> None:
    folder = tmp_path / "wares"
    folder.mkdir()
    (folder / "x.bin").write_bytes(bytes(range(256)) * 1000)
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "benchmarks.soak.origin", str(folder), "127.0.0.1", "0", "1e9", "counts"]
    with Process(command, tmp_path, {"PYTHONPATH": root}) as process:
        port = urlsplit(process.wait_until_listening()[0]).port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for first, last in ((0, 9), (100, 200_099)):
            connection.request("GET", "/x.bin", headers={"Range": f"bytes={first}-{last}"})
            answer = connection.getresponse()
            assert answer.status == 206
            assert len(answer.read()) == last - first + 1
        connection.request("GET", "/other.bin")
        assert connection.getresponse().read() == b""
        connection.close()
        # All is counted when the origin has seen the end of the connection.
        counts = Counts(tmp_path / "counts")
        until(lambda: counts.total >= 200_010, 20, "the bodies are counted")
    assert counts.of("127.0.0.1") == counts.total == 200_010
