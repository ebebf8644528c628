"""Do two super nodes that are each other's servers end well, with and without a third that has it?"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from tests.integration.lab import MIB, NORTH, Bytes, Lab, digest_of, make_file, until
from tests.integration.processes import Process
from tests.integration.servers import OriginProcess, program

pytestmark = pytest.mark.integration

NAMES = ("one", "two")
SIZE = MIB + 4321
WITHIN = 30.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("circle")) as lab:
        lab.add_core()
        for number, name in enumerate(NAMES, 3):
            node = lab.add_node(
                "supernode", name, f"{NORTH}{number}", manager="https://127.0.0.1:1", capacity=20 * SIZE
            )
            settings = {"public_url": node.url, "allow_targets": ["127.0.0.0/8"], "read_through": True}
            lab.rewrite(attrs.evolve(node, settings={**node.settings, **settings}))
        lab.start()
        yield lab


def published(lab: Lab, file: Bytes, *mirrors: str) -> list[str]:
    """Publish a file as one that both super nodes have; its URL at each of them."""
    resource = lab.publish(file.path)
    urls = [f"{lab.url(name)}/r/{resource}/{file.path.name}" for name in NAMES]
    options = [option for url in [*urls, *mirrors] for option in ("--mirror", url)]
    assert lab.publish(file.path, *options) == resource
    return urls


def curl(lab: Lab, url: str, to: Path) -> Process:
    """curl, told of nothing but the network's authority."""
    command = [program("curl"), "-sS", "--fail", "--max-time", "30", "--retry", "9", "-o", str(to)]
    return Process([*command, "--cacert", str(lab.folder / "pki" / "ca.pem"), url], lab.folder)


def test_a_question_that_comes_back_is_refused(lab: Lab) -> None:
    file = make_file(lab.folder / "nowhere.bin", SIZE, 1)
    first, _ = published(lab, file)
    with curl(lab, first, lab.folder / "nothing"):
        until(lambda: f"{first}: HTTP 508" in lab.running["two"].log, WITHIN, "one hears itself through two")
    assert "HTTP 508" not in lab.running["one"].log


def test_both_get_it_from_who_has_it(lab: Lab) -> None:
    file = make_file(lab.folder / "somewhere.bin", SIZE, 2)
    with OriginProcess(file.path, 1_000_000) as origin, ExitStack() as stack:
        urls = published(lab, file, origin.url("honest"))
        targets = [lab.folder / f"got {name}" for name in NAMES]
        running = [stack.enter_context(curl(lab, url, to)) for url, to in zip(urls, targets, strict=True)]
        for each, target in zip(running, targets, strict=True):
            assert each.wait(WITHIN) == 0, each.log
            assert digest_of(target) == file.sha256
        assert origin.sent() <= 3 * SIZE
