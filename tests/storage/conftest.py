"""What do the tests of storage get handed?"""

from pathlib import Path

import pytest

from tests.storage.kit import Kit


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)
