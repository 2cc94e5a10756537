"""Numbered reports that control has not acknowledged, and the room for those that accepted work will still make."""

from itertools import islice

from moyai.agent.core.effects import Limits, Write
from moyai.agent.core.journal import encode, report_key
from moyai.model.events import AttemptEnded
from moyai.model.exchange import Report, ReportBody
from moyai.model.ids import AttemptId
from moyai.model.units import Instant


class Reports:
    """A queue of facts: it never drops one, so that work without room for its facts is not taken.

    Never more than `limits.reports + limits.reserve` are waiting or owed.
    """

    __slots__ = ("_limits", "_next", "_waiting", "owed")

    def __init__(self, waiting: dict[int, Report], acked: int, limits: Limits) -> None:
        self._waiting = waiting  # ascending
        self._next = max(acked, *waiting) + 1 if waiting else acked + 1
        self._limits = limits
        self.owed = 0  # reports that accepted work will make for sure

    def __len__(self) -> int:
        return len(self._waiting)

    def first(self, limit: int) -> tuple[Report, ...]:
        """The lowest reports, at most `limit`."""
        return tuple(islice(self._waiting.values(), limit))

    def room(self, reports: int, *, reserve: bool = False) -> bool:
        """Whether so many more can be owed or made; the reserve is for what can't be turned away in any other way."""
        bound = self._limits.reports + (self._limits.reserve if reserve else 0)
        return len(self._waiting) + self.owed + reports <= bound

    def add(self, body: ReportBody, at: Instant) -> Write:
        """Number a report. Returns its entry in the journal."""
        number = self._next
        report = Report(number, at, type(body).__name__, body)
        self._waiting[number] = report
        self._next = number + 1
        return Write(report_key(number), encode(report))

    def acknowledge(self, through: int) -> list[Write]:
        """Drop reports up to `through`: they are in the log."""
        gone: list[int] = []
        for number in self._waiting:
            if number > through:
                break
            gone.append(number)
        for number in gone:
            del self._waiting[number]
        self._next = max(self._next, through + 1)
        return [Write(report_key(number), None) for number in gone]

    @property
    def next(self) -> int:
        """The number of the next report."""
        return self._next

    def holds_end_of(self, attempt: AttemptId) -> bool:
        """Whether the end of that attempt waits to be acknowledged."""
        return any(isinstance(r.body, AttemptEnded) and r.body.attempt == attempt for r in self._waiting.values())
