"""Work for the tests of the workers: functions of a module, so that a process can find them."""

import os
from collections.abc import Callable


def double(task: int, tell: Callable[[float], None]) -> int:
    """Twice the task."""
    tell(0.5)
    return 2 * task


def fails_at_3(task: int, tell: Callable[[float], None]) -> int:
    """Fails for one task."""
    if task == 3:
        raise RuntimeError("three is too many")
    return task


def dies_at_3(task: int, tell: Callable[[float], None]) -> int:
    """Its process ends for one task."""
    if task == 3:
        os._exit(9)
    return task
