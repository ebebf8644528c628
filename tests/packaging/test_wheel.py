"""Is all that the program needs, and nothing else, in what is installed?"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROLES = ("index", "manager", "peer", "site", "statistics", "supernode", "tracker")


def run(*words: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), folder=ROOT)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_it_holds_the_package_the_plugins_and_the_examples(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    packed = {name for name in names if not name.startswith("p2sp-")}
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "p2sp").rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    }
    assert packed == {*wanted, "twisted/plugins/p2sp_dropin.py"}
    assert {"p2sp/py.typed", "p2sp/tracker/redis_store.lua", "p2sp/ops/pages/static/pages.css"} <= packed
    shared = {name.partition("/data/share/p2sp/")[2] for name in names if "/data/share/p2sp/" in name}
    assert {"tracker.toml", "systemd/p2sp@.service", "grafana-dashboard.json"} <= shared


def test_its_command_and_its_plugins_are_found(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    told = (tmp_path / "site").glob("*.dist-info/entry_points.txt")
    assert "p2sp = p2sp.cli.start:main" in next(told).read_text()
    # In front of what is installed for the tests: the unpacked wheel is what is found.
    path = str(tmp_path / "site")
    found = run("-c", "import p2sp.cli.start as s; print(s.__file__)", folder=tmp_path, PYTHONPATH=path)
    assert found.stdout.startswith(path)
    plugins = "import twisted.plugins as p; print(p.__path__)"
    assert f"{path}/twisted/plugins" in run("-c", plugins, folder=tmp_path, PYTHONPATH=path).stdout
    help_text = run("-m", "p2sp.cli.twistd", "--help", folder=tmp_path, PYTHONPATH=path).stdout
    assert [role for role in ROLES if f" p2sp-{role} " not in help_text] == []
