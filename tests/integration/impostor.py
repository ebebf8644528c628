"""How does a test stand in for a service that answers what it should not, or shows a certificate it should not?"""

import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from p2sp.net.identity import Identity, save_identity


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    answers: Mapping[str, bytes]

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that fails is what is wanted."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        body = next((each for end, each in self.server.answers.items() if self.path.endswith(end)), None)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name of the method's argument
        """Tests speak for themselves."""


class Impostor:
    """An HTTPS server in a thread that answers GET with fixed bytes by the path's end; ends with the block."""

    def __init__(self, identity: Identity, folder: Path, answers: Mapping[str, bytes]) -> None:
        save_identity(identity, folder / "impostor.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "impostor.pem")
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.answers = answers
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
