"""What SIGINT and SIGTERM do while the server starts: it ends at once, with the exit code that a shell knows."""

import os
import signal
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_when_told(undo: Callable[[], None] | None = None) -> None:
    """From now on the first of either calls `undo` and ends the process with 128 + its number.

    Nothing is raised: in the middle of an import an exception may be wrapped or lost, and after a KeyboardInterrupt
    inside `exec`, as in the making of a dataclass, CPython 3.11 ends by SIGINT even if it was caught. What is half
    written then is as after a kill, which every start copes with.
    """

    def told(number: int, _: FrameType | None) -> None:
        end_anyway()
        try:
            if undo is not None:
                undo()
        finally:
            os._exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, told)


def end_anyway() -> None:
    """The end has begun: to be told again changes nothing."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
