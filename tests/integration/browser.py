"""How does a test look at a page as a person does? Headless Chromium, driven over WebDriver (W3C) on loopback."""

import base64
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.request import Request, urlopen

from tests.integration.processes import free_port

T = TypeVar("T")

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
WITHIN = 30.0

_OVERFLOW = """
const wide = document.documentElement.clientWidth;
return [...document.querySelectorAll("body *")]
  .filter((each) => !each.closest(".scroll, svg svg, thead") && each.getBoundingClientRect().right > wide + 1)
  .map((each) => each.tagName + "." + (each.className.baseVal ?? each.className));
"""


class Browser:
    """A browser of its own with an empty profile; as a context manager it never outlives its user."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="p2sp-browser-", ignore_cleanup_errors=True)
        port = free_port()
        command = ["chromedriver", f"--port={port}", "--log-level=SEVERE"]
        self._driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._base = f"http://127.0.0.1:{port}"
        self._session = ""

    def __enter__(self) -> Self:
        try:
            self.until(lambda: self._call("GET", "/status")["ready"])
            options = {"args": [*FLAGS, f"--user-data-dir={self._folder.name}"]}
            wanted = {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
                "acceptInsecureCerts": True,
            }
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._end()
            raise
        self._session = f"/session/{made['sessionId']}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call("DELETE", self._session)
        finally:
            self._end()

    def _end(self) -> None:
        self._driver.terminate()
        self._driver.wait(WITHIN)
        self._folder.cleanup()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        with urlopen(request, timeout=WITHIN) as answer:
            return json.loads(answer.read())["value"]

    def _command(self, name: str, **parameters: Any) -> Any:
        return self._call("POST", f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def open(self, url: str) -> None:
        """Go to a page and wait until it is there."""
        self._call("POST", f"{self._session}/url", {"url": url})

    def ask(self, script: str, *arguments: Any) -> Any:
        """What a function body answers in the page."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """What a person reads in the first element that fits."""
        return str(self.ask("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def overflowing(self) -> list[str]:
        """Elements that reach beyond the right edge, where nobody sees them."""
        return list(self.ask(_OVERFLOW))

    def complaints(self) -> list[str]:
        """What the browser logged since it was asked last: refused by the policy, not found, failed."""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def be(
        self, width: int, *, height: int = 900, dark: bool = False, scripts: bool = True, scale: float = 1.0
    ) -> None:
        """Be a screen of this width (CSS pixels), with this colour scheme, with or without scripts."""
        phone = width < 600
        self._command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])
        self._command("Emulation.setScriptExecutionDisabled", value=not scripts)

    def shoot(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture (PNG) of the page, or of what a screen shows of it."""
        shot = self._command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def until(self, look: Callable[[], T], within: float = WITHIN) -> T:
        """Look again and again until there is something to see, and say what it is."""
        deadline = time.monotonic() + within
        while True:
            try:
                found = look()
            except OSError:
                if self._driver.poll() is not None or time.monotonic() > deadline:
                    raise
                found = None
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing came within {within:g} s")
            time.sleep(0.05)
