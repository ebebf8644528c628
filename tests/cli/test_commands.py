"""Does the `p2sp` command explain itself, and refuse what it cannot do before it does anything?"""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from p2sp.cli.main import cli

COMMANDS = ["", "get", "publish", "show", "verify", "demo", "site", "site init", "site add", "site renew", "unfinished"]
ID = "a" * 64


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments), prog_name="p2sp")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[str]:
    """Every command there is, by its words."""
    found = [" ".join(path)]
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            found += commands(command, (*path, name))
    return found


def test_these_are_the_commands() -> None:
    assert sorted(commands(cli)) == sorted(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(words: str, flag: str) -> None:
    result = run(*words.split(), flag)
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: p2sp {words}".rstrip())
    command: click.Command = cli
    for word in words.split():
        assert isinstance(command, click.Group)
        command = command.commands[word]
    assert command.help
    assert command.help.split()[0] in result.output
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{words} {parameter.opts} teaches nothing"
            assert parameter.opts[0] in result.output


def test_help_teaches_the_exit_codes() -> None:
    text = " ".join(run("get", "--help").output.split())
    for words in ("2 timeout", "3 not found", "7 interrupted", "8 changed", "9 disk full", "11 in use", "13 exists"):
        assert words in text
    for words in ("22 HTTP", "28 bad input", "32 wrong checksum"):
        assert words in text


def test_version() -> None:
    assert run("--version").output.startswith("p2sp, version ")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["get"], 2, "Missing argument 'TARGET...'"),
        (["get", "ftp://h/x"], 28, "p2sp: ftp://h/x: only http and https URLs are fetched"),
        (["get", "http://h/x", "--mirror", "ftp://h/x"], 28, "p2sp: ftp://h/x: only http and https"),
        (["get", "http://h/x", "--checksum", "sha-256=12"], 28, "sha-256 takes 64 hex digits"),
        (["get", "http://h/x", "http://h/y", "--mirror", "http://g/x"], 28, "several TARGETs take neither --mirror"),
        (["get", "http://h/x", "http://h/y", "--checksum", f"sha-256={ID}"], 28, "several TARGETs take neither"),
        (["get", "http://h/x", "http://h/y", "-o", "file"], 28, "-o must be a folder"),
        (["get", "http://h/x", "--max-download", "fast"], 2, "'fast' is not a rate such as 2MB/s"),
        (["get", "http://h/x", "--connections", "17"], 2, "not in the range 1<=x<=16"),
        (["get", "http://h/x", "--seed", "-1"], 2, "not in the range x>=0"),
        (["get", "http://h/x", "--jobs", "0"], 2, "not in the range 1<=x<=16"),
        (["get", "http://h/x", "--header", "secret"], 28, "p2sp: --header: a header is written 'Name: value'"),
        (["get", "--input", "missing"], 28, "p2sp: --input missing: No such file or directory"),
        (["get", "--resume-all"], 0, "p2sp: nothing is unfinished"),
        (["get", "http://h/x", "--ca-certificate", "bad.toml"], 28, "p2sp: --ca-certificate bad.toml: it holds no"),
        (["get", "http://h/x", "--address", "here"], 28, "p2sp: --address here: not an IP address"),
        (["get", "bad.toml"], 28, "p2sp: bad.toml: not a .torrent or .meta4 file: metainfo"),
        (["unfinished"], 0, ""),
        (["get", "http://h/x", "--mode", "slow"], 2, "'slow' is not one of 'fast', 'offload'"),
        (["get", "http://h/x", "--progress", "loud"], 2, "'loud' is not one of"),
        (["get", "http://h/x", "--site", "missing.toml"], 2, "'missing.toml' does not exist"),
        (["get", "http://h/x", "--site", "bad.toml"], 1, "p2sp: bad.toml: "),
        (["get", "http://h/x", "--site", "."], 1, "site.toml: No such file or directory"),
        (["publish", "missing"], 2, "'missing' does not exist"),
        (["publish", "bad.toml", "--mirror", "here"], 28, "p2sp: here: only http and https"),
        (["publish", "bad.toml", "--tracker", "here"], 28, "p2sp: here: a tracker's URL begins with http"),
        (["show", "nothing"], 28, "p2sp: nothing: not a URL, a magnet link, a .torrent or .meta4 file or"),
        (["verify", "missing", ID], 2, "'missing' does not exist"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_refusals(arguments: list[str], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("authority = 3\n")
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output
