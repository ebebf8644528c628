"""How is the soak asked for? `python -m benchmarks.soak`, from the root of the checkout."""

import argparse
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random, randrange
from typing import Final

from benchmarks.soak.comparison import Line, compare
from benchmarks.soak.customers import Books, Customer
from benchmarks.soak.killer import Killer
from benchmarks.soak.site import Pace, Site
from benchmarks.soak.wares import ON_OFFER, Shelf
from benchmarks.soak.watch import Watch

CUSTOMERS: Final = 5
NEW_WARE: Final = 40.0
"""Seconds between two new resources."""

LOOK: Final = 5.0
"""Seconds between two looks at the roles."""

FIRST_WARES: Final = 3
ENDS_WITHIN: Final = 300.0
"""Seconds that those who are at it have to end when the time is over."""

MIB: Final = 1024 * 1024


class Soak:
    """The whole: a site, those who come to it, and one who kills."""

    def __init__(self, site: Site, given: argparse.Namespace) -> None:
        self._site = site
        self._minutes: float = given.minutes
        self._began = time.monotonic()
        self._over = threading.Event()
        self._books = Books()
        self._troubles = 0
        self._shelf = Shelf(site, Random(f"{given.seed} wares"))
        self._customers = [
            Customer(site, self._shelf, self._books, number, given.seed, self._trouble)
            for number in range(given.customers)
        ]
        rng = Random(f"{given.seed} killer")
        self._killer = Killer(site, self._customers, given.kill_every, rng, self.say, self._trouble)
        self._watch = Watch(site)

    def _trouble(self, text: str) -> None:
        """What is not to be, told at once."""
        self._troubles += 1
        self.say(f"TROUBLE {text}")

    def say(self, text: str) -> None:
        """One line, with the time since the beginning."""
        print(f"[{time.monotonic() - self._began:6.0f} s] {text}", flush=True)

    def run(self) -> bool:
        """From the first start to the last table; whether everything was as it shall be."""
        try:
            return self._run()
        finally:
            # Whatever happened, nobody is left behind; the roles go with the site.
            self._over.set()
            for customer in self._customers:
                customer.leave()

    def _run(self) -> bool:
        site = self._site
        for name in site.roles:
            site.begin(name)
        for _ in range(FIRST_WARES):
            self._shelf.publish()
        self.say(f"up: {', '.join(site.roles)}; {len(self._customers)} customers come")
        customers = [self._thread(each.live) for each in self._customers]
        helpers = [self._thread(self._killer.live), self._thread(self._stock)]
        self._attend()
        self._over.set()
        for thread in [*helpers, *customers]:
            thread.join(ENDS_WITHIN)
            if thread.is_alive():
                self._trouble("somebody did not come to an end")
        return self._conclude()

    def end(self) -> None:
        """Come to the end now."""
        self._over.set()

    def _thread(self, live: Callable[[threading.Event], None]) -> threading.Thread:
        def run() -> None:
            try:
                live(self._over)
            except Exception:  # noqa: BLE001 - the soak itself is broken, and says so
                self._trouble(traceback.format_exc())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _stock(self, over: threading.Event) -> None:
        while not over.wait(NEW_WARE):
            self._shelf.publish()
            self._shelf.seed_newest()

    def _attend(self) -> None:
        """Look at the roles until the time is over, and say each minute how it goes."""
        minute = 1
        while (passed := time.monotonic() - self._began) < self._minutes * 60 and not self._over.is_set():
            self._watch.look(time.monotonic(), self._began)
            for name in list(self._site.lives):
                self._site.read_counters(name)
            if passed >= minute * 60:
                minute += 1
                self._tell()
            time.sleep(LOOK)

    def _tell(self) -> None:
        books, site = self._books, self._site
        looks = {name: self._watch.latest(name) for name in site.roles}
        sizes = " ".join(f"{name} {look.resident // MIB}/{look.descriptors}" for name, look in looks.items() if look)
        disk = sum(path.stat().st_size for path in site.folder.rglob("*") if path.is_file() and not path.is_symlink())
        self.say(
            f"downloads {books.begun} begun, {books.finished} finished, {books.failed} failed, "
            f"{books.wrong} bytes wrong; {self._killer.kills.total()} kills; "
            f"disk {disk // MIB} MiB; MiB/descriptors: {sizes}"
        )

    # -- the end ---------------------------------------------------------------------------------------------

    def _conclude(self) -> bool:
        site, books = self._site, self._books
        # Every goodbye reaches a tracker, and with the last report of the trackers the statistics.
        self._stop([name for name in site.roles if name in site.past])
        self._stop([name for name in site.roles if name.startswith("tracker")])
        lines = compare(site, books, site.statistics())
        self._stop(list(site.lives))
        told = [self._of_downloads(), self._of_roles(), _of_bytes(lines)]
        print("\n\n".join(["", *told, ""]), flush=True)
        if self._troubles:
            self.say(f"{self._troubles} troubles, see above")
        return not self._troubles and not books.wrong and all(line.good for line in lines)

    def _stop(self, names: list[str]) -> None:
        for name in names:
            try:
                self._site.end(name, politely=True)
            except AssertionError as error:
                self._trouble(f"{name} did not end well: {error}")

    def _of_downloads(self) -> str:
        books = self._books
        return "\n".join(
            [
                f"downloads: {books.begun} begun, {books.finished} finished, {books.failed} failed, "
                f"{books.wrong} bytes wrong",
                f"of these: {books.interrupted} times interrupted and {books.killed} times killed, and resumed; "
                f"{books.seeded} seeded",
                f"resources: {self._shelf.published}, at most {ON_OFFER} on offer; publishing had to be tried again "
                f"{self._shelf.publishing_again} times",
                f"received by kind: {', '.join(f'{kind} {n // MIB} MiB' for kind, n in books.received.items())}; "
                f"{books.wasted // MIB} MiB of it for nothing, {books.untold.total() // MIB} MiB by clients that were "
                f"killed",
            ]
        )

    def _of_roles(self) -> str:
        rows = [f"{'role':<14}{'kills':>6} {'MiB first':>10}{'last':>7}{'most':>7}{'an hour':>9}"]
        rows[0] += f"{'fds first':>11}{'last':>6}{'most':>6}{'an hour':>9}"
        for name in self._site.roles:
            memory, open_ = self._watch.resident(name), self._watch.descriptors(name)
            rows.append(
                f"{name:<14}{self._killer.kills[name]:>6} {memory.first:>10.1f}{memory.last:>7.1f}{memory.most:>7.1f}"
                f"{memory.slope:>+9.1f}{open_.first:>11.0f}{open_.last:>6.0f}{open_.most:>6.0f}{open_.slope:>+9.1f}"
            )
        return "\n".join(rows)


def _of_bytes(lines: list[Line]) -> str:
    rows = [f"{'bytes':<62}{'said':>15}{'counted':>15}{'off':>9}"]
    rows += [
        f"{line.what:<62}{line.said:>15,}{line.truth:>15,}{line.off:>+9.2%}{'' if line.good else '  TOO FAR'}"
        for line in lines
    ]
    return "\n".join(rows)


def main() -> int:
    """Soak; 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default %(default)g)")
    parser.add_argument("--seed", type=int, help="of all lots; printed, and drawn when not given")
    parser.add_argument("--kill-every", type=float, default=40.0, metavar="SECONDS", help="(default %(default)g)")
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help="at a time (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="work here, and leave it there; else in a temporary folder")
    given = parser.parse_args()
    given.seed = randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {given.seed}, {given.minutes:g} minutes, a kill every {given.kill_every:g} s", flush=True)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="p2sp-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Site(folder, Pace()) as site:
            soak = Soak(site, given)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: soak.end())
            good = soak.run()
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
