"""How does the `p2sp` command begin, so that it can be interrupted before there is anything to put in order?"""

import os
import signal
from types import FrameType

INTERRUPTED = 7


def main() -> None:
    """Entry point of the `p2sp` script: nothing is imported before Ctrl-C means what it says."""
    # Who had it ignored, as `nohup` does, keeps that.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
    from p2sp.cli import main as command

    try:
        command.main()
    except OSError as error:
        # What commands do themselves ends in a sentence of theirs: this is an answer or a help text that finds no room.
        os.write(2, f"p2sp: {error.strerror or error}\n".encode())
        os._exit(1)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Nothing is begun yet. No exception: an import that is under way would show where it came from."""
    os.write(2, b"p2sp: interrupted\n")
    os._exit(INTERRUPTED)
