"""`p2sp get` with a journal that is written many times a second, so that a short run has something to lose.

Arguments: those of `p2sp`.
"""

from p2sp.cli.main import main
from p2sp.storage import disk

if __name__ == "__main__":
    disk.JOURNAL_SECONDS = 0.1
    disk.JOURNAL_BYTES = 1024 * 1024
    main()
