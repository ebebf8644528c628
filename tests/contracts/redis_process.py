"""How does a test get a Redis of its own?"""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.integration.processes import Process
from tests.integration.servers import program


class Redis:
    """redis-server on a socket in a folder of its own, without anything on disk."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory()
        path = Path(self._folder.name) / "redis.sock"
        self.url = f"unix://{path}"
        command = [
            program("redis-server"),
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self.process = Process(command, Path(self._folder.name))
        self.process.wait_for("(?i)ready to accept connections")

    def close(self) -> None:
        """End it."""
        self.process.stop()
        self._folder.cleanup()
