"""The two clocks of the machine that control runs on."""

import time

from moyai.model.units import Boot, Instant


def now() -> Instant:
    """The wall clock, UTC. It may step; nothing that must be right depends on it."""
    return Instant(time.time_ns() // 1_000)


def boot() -> Boot:
    """CLOCK_BOOTTIME: it never steps and goes on while the machine sleeps. Leases run on it alone."""
    return Boot(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000)
