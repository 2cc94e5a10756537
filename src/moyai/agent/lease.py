"""The lease rule of everything that runs a rank: the supervisor and the guard share it. Pure, standard library only.

A lease is a duration on CLOCK_BOOTTIME, counted from *sending* the request that was answered with it. Before it is over
the rank has had its stop signal, its grace (no more than a third of the lease), and the kill.
"""

from __future__ import annotations

FOREVER_US = 2**61
"""A lease at least that long never ends: its attempt waits out a partition."""

MOST_MARGIN_US = 250_000
RENEW_MOST_US = 5_000_000
RENEW_LEAST_US = 50_000


class Lease:
    """Until when an attempt may run, by the boot clock of its machine, in µs."""

    __slots__ = ("end_us", "length_us")

    def __init__(self, sent_us: int, left_us: int, length_us: int) -> None:
        self.end_us = sent_us + left_us
        self.length_us = length_us if length_us > 0 else left_us

    def renew(self, sent_us: int, left_us: int, length_us: int) -> None:
        """Take the answer to a renewal sent at `sent_us`. The later end stands: a new agent may have none to give."""
        self.end_us = max(self.end_us, sent_us + left_us)
        if length_us > 0:
            self.length_us = length_us

    @property
    def endless(self) -> bool:
        """Whether it never ends."""
        return self.end_us >= FOREVER_US

    def grace_us(self, wanted_us: int) -> int:
        """The grace it has room for: what is wanted, but no more than a third of it."""
        return min(wanted_us, self.length_us // 3)

    @property
    def kill_at_us(self) -> int:
        """When to kill, so that all is dead by the end: a little before it."""
        return self.end_us - min(MOST_MARGIN_US, self.length_us // 20)

    def stop_at_us(self, wanted_us: int) -> int:
        """When to send the stop signal, so that the grace is over when the kill is due."""
        return self.kill_at_us - self.grace_us(wanted_us)

    def renew_after_us(self, now_us: int, wanted_us: int) -> int:
        """How long to wait with the next renewal: a quarter of what is left before the stop signal, within bounds."""
        return max(RENEW_LEAST_US, min(RENEW_MOST_US, (self.stop_at_us(wanted_us) - now_us) // 4))
