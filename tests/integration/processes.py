"""How does a test run a role as the real process an operator runs?"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
from twisted.web.iweb import IPolicyForHTTPS

from p2sp.net.authority import Authority
from p2sp.net.identity import Identity, create_identity, save_identity
from p2sp.net.trust import Trust, client_policy

READY_WITHIN = 30.0
"""Seconds a process has to say that it is ready."""

STOPPED_WITHIN = 20.0
"""Seconds a process has to end after SIGTERM before it is killed."""

ONCE_WITHIN = 60.0
_LOG_LINES = 5000
_SHUT_DOWN = "Server Shut Down."
_LISTENING = re.compile(r"listening on (https?://\S+)")


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on now. Where a configuration takes port 0, that is better: nobody can snatch it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def twistd(plugin: str, config: Path, *options: str) -> list[str]:
    """What an operator types to run a role (such as `p2sp-index`) in the foreground."""
    program = Path(sys.prefix) / "bin" / "twistd"
    return [str(program), "--nodaemon", "--pidfile=", plugin, "--config", str(config), *options]


def run_once(command: Sequence[str], cwd: Path, timeout: float = ONCE_WITHIN) -> "subprocess.CompletedProcess[str]":
    """Run a command that ends by itself; its output is in `stdout` and `stderr`."""
    return subprocess.run(
        command, cwd=cwd, env=_environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", **(extra or {})}


class Process:
    """A process this test started, with all it says; as a context manager it never outlives the test.

    An exception that leaves the `with` block carries the end of the log as a note.
    """

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._asked = False
        self._process = subprocess.Popen(
            self.command,
            cwd=cwd,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name=f"log of {self._process.pid}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is not None:
            error.add_note(f"--- log of {' '.join(self.command)}\n{self.log[-8000:]}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What the process said so far, standard output and error together."""
        with self._news:
            return "".join(self._lines)

    def wait_for(self, pattern: str | re.Pattern[str], timeout: float = READY_WITHIN) -> re.Match[str]:
        """Wait until the log matches; AssertionError with the log when it does not in time or the process ends."""
        wanted = re.compile(pattern)

        def settled() -> bool:
            return self._ended or wanted.search("".join(self._lines)) is not None

        with self._news:
            self._news.wait_for(settled, timeout)
            found = wanted.search("".join(self._lines))
            if found is not None:
                return found
            text = "".join(self._lines)
        state = f"ended with {self._process.poll()}" if self._ended else f"said nothing like it in {timeout:g} s"
        raise AssertionError(f"{' '.join(self.command)} {state}, waiting for {wanted.pattern!r}:\n{text[-8000:]}")

    def wait_until_listening(self, count: int = 1, timeout: float = READY_WITHIN) -> list[str]:
        """Wait for `count` ready lines of roles; the URLs they listen at, in the order of the log.

        They listen before the reactor runs: whoever comes before that waits, but a signal would end the process.
        """
        # Atomic, and from the beginning: with one line missing all ways to divide the others would be tried.
        self.wait_for(rf"(?s)\A(?>.*?{_LISTENING.pattern}){{{count}}}", timeout)
        until = time.monotonic() + timeout
        while not self._heeds_signals() and time.monotonic() < until:
            time.sleep(0.005)
        return _LISTENING.findall(self.log)

    def _heeds_signals(self) -> bool:
        """Whether it has a way of its own to end by SIGTERM, or has ended."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return True
        caught = re.search(r"SigCgt:\s*([0-9a-f]+)", status)
        return self._process.poll() is not None or (caught is not None and bool(int(caught[1], 16) >> 14 & 1))

    def wait(self, timeout: float = STOPPED_WITHIN) -> int:
        """Wait until the process ends by itself; its exit code. subprocess.TimeoutExpired when it does not."""
        code = self._process.wait(timeout)
        self._reader.join(timeout)
        return code

    def request_stop(self) -> None:
        """Ask it to stop (SIGTERM), once, without waiting; does nothing when it has ended.

        A second signal would come while Twisted stops already, which it logs as an error of its own.
        """
        if self._process.poll() is None and not self._asked:
            self._asked = True
            self._process.send_signal(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def terminate(self, timeout: float = STOPPED_WITHIN) -> int:
        """Ask it to stop (SIGTERM) and wait; its exit code. AssertionError with the log when it has to be killed.

        twistd, once all is shut down in order, ends itself by the signal it got: that counts as 0 here.
        """
        self.request_stop()
        try:
            code = self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{' '.join(self.command)} did not stop:\n{self.log[-8000:]}") from None
        return 0 if code == -signal.SIGTERM and _SHUT_DOWN in self.log else code

    def kill(self) -> int:
        """End it at once (SIGKILL), as a crash would; its exit code."""
        if self._process.poll() is None:
            self._process.kill()
        return self.wait()

    def stop(self) -> None:
        """Make sure it has ended: SIGTERM, then SIGKILL. Does nothing when it has."""
        self.request_stop()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                with self._news:
                    self._lines.append(line)
                    del self._lines[:-_LOG_LINES]
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


@attrs.frozen
class Network:
    """A folder with an authority, keys and configurations: what `p2sp site init` would make, for a test."""

    folder: Path
    authority: Authority

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new network with an authority of its own."""
        authority = Authority.create("test network")
        authority.save(folder / "pki")
        return cls(folder, authority)

    @property
    def trust(self) -> Trust:
        """Whoever takes this network's word."""
        return Trust((self.authority.certificate,))

    def identity(self, role: str, name: str | None = None) -> Identity:
        """A key and certificate for `role`, also saved as `pki/<name or role>.pem`."""
        identity = self.authority.issue(role, ["127.0.0.1", "::1", "localhost"], name or role)
        save_identity(identity, self.folder / "pki" / f"{name or role}.pem")
        return identity

    def config(self, role: str, extra: str = "", *, name: str | None = None, listen: str = "127.0.0.1:0") -> Path:
        """Write `<name or role>.toml` with what every role needs and `extra` (TOML); issues the identity if missing."""
        called = name or role
        if not (self.folder / "pki" / f"{called}.pem").exists():
            self.identity(role, called)
        base = {
            "listen": listen,
            "identity": f"pki/{called}.pem",
            "authority": "pki/ca.pem",
            "state": f"state/{called}",
        }
        # A JSON string is a TOML string.
        lines = [f"{key} = {json.dumps(value)}" for key, value in base.items()]
        path = self.folder / f"{called}.toml"
        path.write_text("\n".join([*lines, extra, ""]), encoding="utf-8")
        return path

    def policy(self, identity: Identity | None = None) -> IPolicyForHTTPS:
        """How a client that trusts this network connects, showing `identity` (a role's, or a peer's own)."""
        return client_policy(identity, self.trust)

    def peer_policy(self) -> IPolicyForHTTPS:
        """How a client with a self-signed key, and no role, connects."""
        return client_policy(create_identity(), self.trust)

    def start(self, role: str, config: Path, *options: str) -> Process:
        """Run `p2sp-<role>` with a configuration, in this network's folder; use it in a `with` statement."""
        return Process(twistd(f"p2sp-{role}", config, *options), self.folder)
