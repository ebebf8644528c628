"""What holds for every test."""

from pathlib import Path

import pytest
from hypothesis import settings

# A shared machine may be slow at any moment; time is never what a property is about.
settings.register_profile("p2sp", deadline=None)
settings.load_profile("p2sp")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a test leaves where it stands, such as trial's `mktemp`, not stand in the checkout."""
    monkeypatch.chdir(tmp_path)
