"""`p2sp` with an account at its end: which modules it loaded, and what its garbage collector does, as JSON in a file.

Arguments: the file, then those of `p2sp`.
"""

import atexit
import gc
import json
import sys
from pathlib import Path

from p2sp.cli.main import main


def tell(to: Path) -> None:
    """Write it."""
    to.write_text(
        json.dumps({"modules": list(sys.modules), "collects": gc.isenabled(), "frozen": gc.get_freeze_count()})
    )


if __name__ == "__main__":
    atexit.register(tell, Path(sys.argv.pop(1)))
    main()
