"""What do the pages of statistics and manager look like in a real run? Makes the pictures in `docs/images`.

    .venv/bin/python docs/take_screenshots.py [FOLDER]

Runs the demonstration (`p2sp demo`), and when its last client is done takes pictures of both pages in Debian's
Chromium (packages chromium and chromium-driver): light and dark, on a wide screen and on a phone.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.integration.browser import Browser  # noqa: E402 - the tests are no installed package
from tests.integration.processes import Process  # noqa: E402

WIDE, PHONE = 1180, 390


def main(folder: Path) -> None:
    """Run the demonstration and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with Process([sys.executable, "-m", "p2sp.cli", "demo", "--linger", "12"], REPOSITORY) as demo:
        pages = demo.wait_for(r"how fast at (\S+), what lies where and why at (\S+)", 60)
        demo.wait_for("all stays up", 200)
        with Browser() as browser:
            for name, url in (("statistics", pages[1]), ("manager", pages[2])):
                for dark in (False, True):
                    browser.be(WIDE, dark=dark)
                    browser.open(url)
                    browser.shoot(folder / f"{name}-{'dark' if dark else 'light'}.png")
                browser.be(PHONE, height=844)
                browser.open(url)
                browser.shoot(folder / f"{name}-phone.png")
        demo.wait_for("every process has ended", 120)
        print(demo.log)
        if demo.wait() != 0:
            raise SystemExit("the demonstration failed; the pictures are not of a whole run")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs" / "images")
