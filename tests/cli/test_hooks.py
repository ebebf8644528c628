"""Are programs told what they are to be told, and ended when they take too long?"""

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from p2sp.cli.hooks import run_hook

reactor: Any = installed_reactor


class HookTests(TestCase):
    """Real programs."""

    timeout = 30

    def script(self, text: str) -> list[str]:
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        return [sys.executable, str(path)]

    async def test_is_told(self) -> None:
        out = Path(self.mktemp()).absolute()
        command = self.script(
            "import os, sys\n"
            "assert sys.stdin.read() == ''\n"
            "open(sys.argv[1], 'w').write(os.environ['P2SP_PATH'] + os.environ['P2SP_ERROR'])\n"
        )
        problem = await run_hook(reactor, [*command, str(out)], {"P2SP_PATH": "/a b/'c", "P2SP_ERROR": "n\0ul"})
        self.assertIsNone(problem)
        self.assertEqual(out.read_text(), "/a b/'cnul")

    async def test_fails(self) -> None:
        for text, words in (
            ("raise SystemExit(3)", "exit code 3"),
            ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ):
            self.assertEqual(await run_hook(reactor, self.script(text), {}), f"{sys.executable}: {words}")
        self.assertEqual(await run_hook(reactor, ["/no/such"], {}), "/no/such: no such program")

    async def test_takes_too_long(self) -> None:
        command = self.script("import time; time.sleep(600)")
        self.assertEqual(
            await run_hook(reactor, command, {}, 0.2), f"{sys.executable}: not done after 0.2 s, so it was ended"
        )
