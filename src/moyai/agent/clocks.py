"""The two clocks of a site. Standard library only: the guard and the supervisor read them too."""

from __future__ import annotations

import time


def boot_us() -> int:
    """CLOCK_BOOTTIME in µs: never stepped, goes on while the machine sleeps. Leases and run times use it alone."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def wall_us() -> int:
    """UTC in µs since 1970. It may be wrong and may be stepped: it is reported, never compared."""
    return time.time_ns() // 1000


def boot_id() -> str:
    """Which start of its machine this is; "" where the kernel hides it."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
