"""Does the command line of a role load its configuration, and explain itself?"""

import sys
from pathlib import Path
from typing import ClassVar

import pytest
from twisted.python.usage import UsageError
from twisted.scripts._twistd_unix import ServerOptions

from p2sp.net.errors import BadIdentity
from p2sp.ops.config import Base, ConfigError, parse_size
from p2sp.ops.service import CannotStart
from p2sp.ops.tap import RoleOptions, clean_exit


class BakerConfig(Base, kw_only=True, frozen=True, forbid_unknown_fields=True):
    oven: str = "1 MiB"


class BakerOptions(RoleOptions):
    role: ClassVar[str] = "baker"
    config_type = BakerConfig

    def check(self, config: object, config_path: Path) -> None:
        assert isinstance(config, BakerConfig)
        parse_size(config.oven)


@pytest.fixture(autouse=True)
def _own_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


GOOD = 'listen = "127.0.0.1:1"\nidentity = "i.pem"\nauthority = "ca.pem"\nstate = "."\n'


def write(folder: Path, text: str) -> str:
    path = folder / "baker.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("flag", ["--config", "-c"])
def test_a_configuration_is_loaded(tmp_path: Path, flag: str) -> None:
    options = BakerOptions()
    path = write(tmp_path, GOOD)
    options.parseOptions([flag, path])
    assert isinstance(options.config, BakerConfig)
    assert (options.config.listen, options.config_path) == ("127.0.0.1:1", Path(path))


def test_without_a_configuration_nothing_runs() -> None:
    with pytest.raises(UsageError, match="p2sp-baker needs --config"):
        BakerOptions().parseOptions([])


@pytest.mark.parametrize(
    ("words", "pidfile"),
    [(["-n"], ""), ([], "twistd.pid"), (["-n", "--pidfile=my.pid"], "my.pid"), (["--pidfile="], "")],
)
def test_roles_in_the_foreground_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], pidfile: str
) -> None:
    monkeypatch.chdir(tmp_path)
    twistd = ServerOptions()
    twistd.parseOptions([*words, "p2sp-index", "-c", write(tmp_path, GOOD)])
    assert twistd["pidfile"] == (str(tmp_path / pidfile) if pidfile else "")


def test_a_good_configuration_is_called_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(SystemExit) as caught:
        BakerOptions().parseOptions(["-c", path, "--check-config"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"p2sp-baker: configuration {path} is good\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD + "oven = 5", r"\$\.oven: expected `str`, got `int`"),
        (GOOD + "oven = 'big'", "'big' is not a size"),
        (GOOD + "stove = 1", r"\$\.stove is not a setting"),
    ],
)
@pytest.mark.parametrize("check", [[], ["--check-config"]])
def test_a_bad_one_is_one_line(tmp_path: Path, text: str, reason: str, check: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SystemExit, match=f"^p2sp-baker: {path}: {reason}") as caught:
        BakerOptions().parseOptions(["-c", path, *check])
    assert "\n" not in str(caught.value.code)


def test_help_teaches() -> None:
    text = " ".join(str(BakerOptions()).split())
    for word in ("--config", "-c", "--check-config", "p2sp site init", "twistd -n p2sp-baker"):
        assert word in text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("x.toml", "no"), "p2sp-baker: x.toml: no"),
        (BadIdentity("i.pem", "gone"), "p2sp-baker: i.pem is not a usable identity: gone"),
        (OSError(13, "Permission denied", "/var/x"), "p2sp-baker: /var/x: Permission denied"),
        (OSError(28, "No space left"), "p2sp-baker: No space left"),
    ],
)
def test_what_an_operator_can_put_right_is_one_line(error: Exception, line: str) -> None:
    with pytest.raises(SystemExit) as caught, clean_exit("baker"):
        raise error
    assert caught.value.code == line


def test_an_accident_stays_an_accident() -> None:
    with pytest.raises(ZeroDivisionError), clean_exit("baker"):
        raise ZeroDivisionError


def test_a_start_that_fails_is_one_line_and_an_accident_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BakerOptions().parseOptions(["-c", write(tmp_path, GOOD)])
    sys.excepthook(CannotStart, CannotStart("baker", "the oven is cold"), None)
    assert capsys.readouterr().err == "p2sp-baker: the oven is cold\n"
    sys.excepthook(ZeroDivisionError, ZeroDivisionError("by zero"), None)
    assert "ZeroDivisionError: by zero" in capsys.readouterr().err
