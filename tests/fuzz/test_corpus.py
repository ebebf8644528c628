"""Do the inputs that once broke a decoder, or once led a search on, do no harm any more?"""

import pytest

from tests.fuzz.targets import TARGETS
from tests.fuzz.wire_fuzz import CORPUS
from tests.fuzz.wire_fuzz import TARGETS as NAMES

INPUTS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


def test_the_search_knows_every_target() -> None:
    assert list(TARGETS) == list(NAMES)
    assert {path.parent.name for path in INPUTS} == set(TARGETS)


@pytest.mark.parametrize("name", NAMES)
def test_known_inputs(name: str) -> None:
    inputs = [path for path in INPUTS if path.parent.name == name]
    assert inputs
    for path in inputs:
        TARGETS[name](path.read_bytes())
