"""Units of measure. An event or a state holds integers only; the unit is part of every name."""

from typing import NewType

Instant = NewType("Instant", int)
"""A point in time: microseconds since 1970-01-01T00:00:00Z."""

Boot = NewType("Boot", int)
"""A reading of CLOCK_BOOTTIME of one machine, in microseconds. Never compared across machines."""

MICROS_PER_SECOND = 1_000_000
MICROS_PER_HOUR = 3_600 * MICROS_PER_SECOND
J_PER_KWH = 3_600_000
MICRO_YEN = 1_000_000
"""Micro-yen in one yen."""


def after(instant: Instant, duration_us: int) -> Instant:
    """The instant `duration_us` microseconds later (earlier where it is negative)."""
    return Instant(instant + duration_us)


def seconds_us(seconds: float) -> int:
    """Whole microseconds in `seconds`, rounded to the nearest."""
    return round(seconds * MICROS_PER_SECOND)
