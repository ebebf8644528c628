"""Do the documents and examples name what exists, and all of it?"""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path

import click
import msgspec
import pytest

from p2sp.cli.main import cli

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
EXAMPLES = {
    **{role: f"{role}.toml" for role in ("index", "tracker", "statistics", "manager", "supernode", "peer")},
    "site": "p2sp-site.toml",
}
LITERAL = re.compile(r"``([^`]+)``")
PATH = re.compile(r"[a-z_.*][a-z0-9_.*@-]*(?:/[a-z0-9_.*@-]+)*\.(?:py|rst|toml|json|yml|lua|service|socket|sh)")
ELSEWHERE = {"--cacert", "--cert", "--draft", "--home", "--now", "--system"}
"""Options of other programs, in commands that the documents show."""

WRITTEN = {"site.toml", "servers.json", "unfinished.json", "cache-dorms.toml"}
"""Files that the program makes."""


def options(command: click.Command) -> Iterator[str]:
    """Every option of a command and of those below it."""
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        yield from chain.from_iterable(map(options, command.commands.values()))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_files_that_are_named_are_there(guide: Path) -> None:
    named = {word for literal in LITERAL.findall(guide.read_text()) for word in literal.split() if PATH.fullmatch(word)}
    places = ("", "etc/", "etc/systemd/", "p2sp/", "p2sp/*/")
    made = {name for name in named if Path(name).name in WRITTEN}
    lost = [name for name in named - made if not any(any(ROOT.glob(place + name)) for place in places)]
    assert lost == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_options_that_are_named_are_understood(guide: Path) -> None:
    known = {*options(cli), "--help", "--version", "--config", "--check-config", *ELSEWHERE}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", guide.read_text())) - known == set()


def settings(kind: type[msgspec.Struct]) -> Iterator[str]:
    """Every key of a configuration, and of the tables in it."""
    for field in msgspec.structs.fields(kind):
        yield field.encode_name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from settings(field.type)


@pytest.mark.parametrize("role", EXAMPLES)
def test_an_example_explains_every_setting_and_no_other(role: str) -> None:
    example = (ROOT / "etc" / EXAMPLES[role]).read_text()
    explained = set(re.findall(r"^(?:# )?([a-z_0-9]+) = |^\[([a-z_]+)\]$", example, re.M))
    known = set(settings(import_module(f"p2sp.{role}.tap").Options.config_type))
    assert {key or table for key, table in explained} == known


def metrics() -> Iterator[str]:
    """The names that rooms give to what they count, without the prefix."""
    for room in (ROOT / "p2sp").rglob("*.py"):
        for node in ast.walk(ast.parse(room.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="counter" | "gauge" | "gauges" | "Histogram"), args=[ast.Constant(value=name), *_]
                ):
                    yield str(name).removeprefix("p2sp_")


def test_every_metric_is_explained_and_no_other() -> None:
    (table,) = re.findall(r"^every role  .+?^=====", (ROOT / "docs" / "api.rst").read_text(), re.M | re.S)
    explained: set[str] = set()
    role = ""
    for word in re.findall(r"``(\w+)``", table):
        if "_" not in word or word in ("process_", "peer_local", "peer_remote"):
            continue
        if not word.startswith("_"):
            role = word.partition("_")[0]
        explained.add(f"{role}{word}" if word.startswith("_") else word)
    assert explained == set(metrics())


def test_the_readme_leads_to_every_guide() -> None:
    readme = (ROOT / "README.rst").read_text()
    assert [guide.name for guide in GUIDES[1:] if f"``docs/{guide.name}``" not in readme] == []
