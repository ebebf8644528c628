"""What is a client of ours in the lab? `p2sp` as it is, which has been started before and waits for `go`.

So the clock starts when everybody has read the program: sixteen machines would do that at once, and two cores cannot.
"""

import sys
from importlib import import_module
from pkgutil import iter_modules

PACKAGES = ("resource", "schedule", "locality", "storage", "net", "wire", "sources", "download", "cli")


def main() -> None:
    """Import, wait, and be `p2sp` with our arguments."""
    for package in PACKAGES:
        for room in iter_modules(import_module(f"p2sp.{package}").__path__, f"p2sp.{package}."):
            if not room.name.endswith(("__main__", "demo_origin", "twistd")):
                import_module(room.name)
    for name in ("twisted.internet.reactor", "p2sp.index.client", "p2sp.tracker.client"):
        import_module(name)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.argv = ["p2sp", *sys.argv[1:]]
    import_module("p2sp.cli.main").main()


if __name__ == "__main__":
    main()
