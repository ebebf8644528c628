"""Downloads onto a disk that is full, gets full, and has room again.

Arguments: a small file system of its own, the `p2sp` program, the file to fetch. Prints what became of it as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.integration.processes import Process
from tests.integration.servers import OriginProcess, marked, names
from tests.integration.storage_full_child import fill

RATE = 2_000_000.0


def ended(process: Process) -> dict[str, Any]:
    """Exit code and last words."""
    with process:
        code = process.wait()
        return {"code": code, "line": process.log.splitlines()[-1]}


def main(disk: Path, program: str, file: Path) -> dict[str, Any]:
    told: dict[str, Any] = {}
    filler, path = disk / "filler", disk / "x.bin"
    with OriginProcess(file, RATE) as origin:

        def get(scenario: str) -> Process:
            return Process([program, "get", origin.url(scenario), "--summary", str(file.parent / "s.json")], disk)

        filler.write_bytes(bytes(2 * 1024 * 1024))
        told["at once"] = ended(get("honest"))
        filler.unlink()
        begun = origin.sent()
        process = get("honest")
        origin.wait_until_sent(begun + 3 * 1024 * 1024)
        fill(filler)
        account = ended(process)
        summary = json.loads((file.parent / "s.json").read_text())
        told["half-way"] = {**account, "failures": [source["failures"] for source in summary["sources"]]}
        kept = bool(marked(path))
        filler.unlink()
        origin.set(rate="")
        code = ended(get("honest"))["code"]
        told["resumed"] = {"code": code, "same": path.read_bytes() == file.read_bytes(), "kept": kept}
        path.unlink()
        filler.write_bytes(bytes(2 * 1024 * 1024))
        told["endless"] = {**ended(get("endless")), "left": [name for name in names(disk) if name != "filler"]}
        told["unsized"] = {**ended(get("chunked")), "left": [name for name in names(disk) if name != "filler"]}
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))) + "\n")
