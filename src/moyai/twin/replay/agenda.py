"""What is due when, in virtual time. Nothing here reads a real clock."""

import heapq
from collections.abc import Callable
from typing import Any

_LAST = 1 << 60


class Agenda:
    """A heap of acts. Those of one instant happen in the order in which they were asked for, the `last` ones last."""

    __slots__ = ("_count", "_heap", "now")

    def __init__(self) -> None:
        self.now = 0  # µs from the start of the replay
        self._heap: list[tuple[int, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when_us: int, act: Callable[..., Any], *args: Any) -> None:
        """Let `act(*args)` happen at `when_us`, now at the earliest."""
        self._count += 1
        heapq.heappush(self._heap, (max(when_us, self.now), self._count, act, args))

    def last(self, when_us: int, act: Callable[..., Any], *args: Any) -> None:
        """Let `act(*args)` happen at `when_us`, after everything else of that instant."""
        self._count += 1
        heapq.heappush(self._heap, (max(when_us, self.now), _LAST + self._count, act, args))

    def next_us(self) -> int:
        """When the next act is due. Raises IndexError where there is none."""
        return self._heap[0][0]

    def step(self) -> None:
        """Go on to the next act, and do it. Raises IndexError where there is none."""
        self.now, _, act, args = heapq.heappop(self._heap)
        act(*args)
