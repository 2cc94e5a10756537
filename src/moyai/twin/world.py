"""Virtual time, chance from one seed, and machines whose clocks go wrong. Nothing here reads a real clock.

True time is µs since the world began. A machine sees it only through its two clocks: a wall clock that can be stepped,
and a boot clock that drifts and starts anew when the machine does.
"""

import heapq
import random
from collections.abc import Callable
from typing import Any

from moyai.model.units import Boot, Instant

START = Instant(1_900_000_000_000_000)
"""What a right wall clock shows when a world begins."""

SECOND = 1_000_000
"""µs in a second of true time."""


class OutOfTime(AssertionError):
    """The world did not come to rest within its bound of events or time."""


class World:
    """An event heap and a seeded source of chance. Equal seeds give equal worlds."""

    __slots__ = ("_count", "_heap", "events", "now", "rng", "trace")

    def __init__(self, seed: int, *, trace: Callable[[str], None] | None = None) -> None:
        self.now = 0
        self.rng = random.Random(seed)  # noqa: S311 - chance that can be repeated is the point
        self.events = 0
        self.trace = trace
        self._heap: list[tuple[int, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, delay_us: int, act: Callable[..., Any], *args: Any) -> None:
        """Let `act(*args)` happen `delay_us` from now; what is due at one time, in the order it was asked for."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + max(0, delay_us), self._count, act, args))

    def run(self, until: int, rest: Callable[[], bool] | None = None, bound: int = 40_000) -> None:
        """Go on to true time `until`, or to where `rest` says that nothing is left to wait for.

        Raises OutOfTime after `bound` events.
        """
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, act, args = heapq.heappop(heap)
            act(*args)
            self.events += 1
            if self.events > bound:
                raise OutOfTime(f"more than {bound} events")
            if rest is not None and rest():
                return
        self.now = max(self.now, until)

    def chance(self, share: float) -> bool:
        """True in `share` of all cases."""
        return share > 0 and self.rng.random() < share

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both possible."""
        return low if high <= low else low + int(self.rng.random() * (high - low + 1))

    def say(self, words: str) -> None:
        """Note something for whoever follows this run."""
        if self.trace is not None:
            self.trace(f"{self.now / SECOND:10.3f}  {words}")


class Machine:
    """One machine's clocks. `drift_ppm`: how much faster than true its boot clock runs."""

    __slots__ = ("_booted", "_world", "drift_ppm", "wall_offset_us")

    def __init__(self, world: World, drift_ppm: int = 0) -> None:
        self._world = world
        self._booted = -3600 * SECOND
        self.drift_ppm = drift_ppm
        self.wall_offset_us = 0

    def wall(self) -> Instant:
        """What its wall clock shows."""
        return Instant(START + self._world.now + self.wall_offset_us)

    def boot(self) -> Boot:
        """What its boot clock shows."""
        passed = self._world.now - self._booted
        return Boot(passed + passed * self.drift_ppm // SECOND)

    def reboot(self) -> None:
        """Its boot clock starts again."""
        self._booted = self._world.now

    def true_us(self, boot_us: int) -> int:
        """How much true time passes, at most, while its boot clock goes `boot_us` on."""
        return boot_us - boot_us * self.drift_ppm // (SECOND + self.drift_ppm) + 1
