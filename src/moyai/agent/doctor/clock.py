"""The clocks: the one that leases run on, and the one on the wall against another machine's."""

import time

from moyai.agent.clocks import boot_us
from moyai.agent.doctor.check import Check, bad, ok, warn

MICROS = 1_000_000
WARN_S, BAD_S = 5.0, 60.0
"""Off by more than this is told, and is bad: tokens and certificates hold between two instants of the wall clock."""


def check_boot_clock() -> Check:
    """Whether CLOCK_BOOTTIME is there and runs."""
    try:
        before = boot_us()
        time.sleep(0.002)
        after = boot_us()
    except (OSError, AttributeError) as error:
        return bad("boot-clock", "boot-clock-none", problem=str(error))
    if after <= before:
        return bad("boot-clock", "boot-clock-stands")
    return ok("boot-clock", "boot-clock-runs", span=after)


def check_wall_clock(theirs_s: float | None, whose: str, now_s: float | None = None) -> Check:
    """This machine's wall clock against another's, whose `Date` said `theirs_s`. `now_s`: ours; None for now."""
    if theirs_s is None:
        return warn("wall-clock", "wall-clock-untold", whose=whose)
    off_s = (time.time() if now_s is None else now_s) - theirs_s
    off_us = round(abs(off_s) * MICROS)
    if abs(off_s) <= WARN_S:
        return ok("wall-clock", "wall-clock-fits", whose=whose)
    key = "wall-clock-ahead" if off_s > 0 else "wall-clock-behind"
    return (bad if abs(off_s) > BAD_S else warn)("wall-clock", key, off=off_us, whose=whose)
