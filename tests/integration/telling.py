"""How does a test have a server that says something of its files? Twisted's own, with the fields a test writes down."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.web.server import Request, Site

from tests.integration.processes import Process

SUFFIX = ".fields"


class TellingServer(Process):
    """It as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__([sys.executable, "-m", "tests.integration.telling", str(folder)], Path.cwd())
        self.url = self.wait_for(r"listening on (http://\S+)").group(1)

    def tell(self, name: str, fields: Mapping[str, str]) -> str:
        """Have it say these of a file from now on; the file's URL."""
        Path(self.folder, name + SUFFIX).write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
        return f"{self.url}/{name}"


def telling(folder: str) -> Any:
    """A folder's files, each with the header fields, a line each, of the file beside it with SUFFIX."""
    # Importing this warns, which is an error inside the tests.
    from twisted.web.static import File

    class TellingFile(File):
        def render_GET(self, request: Request) -> Any:
            fields = Path(self.path + SUFFIX)
            if fields.is_file():
                for line in fields.read_text().splitlines():
                    name, _, value = line.partition(": ")
                    if name == "Content-Type":
                        self.type, self.encoding = value, None
                    else:
                        request.responseHeaders.addRawHeader(name, value)
            return super().render_GET(request)

    return TellingFile(folder)


def main(folder: str) -> None:
    """Serve until told to end."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    port = reactor.listenTCP(0, Site(telling(folder)), interface="127.0.0.1")
    sys.stdout.write(f"listening on http://127.0.0.1:{port.getHost().port}\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1])
