"""Jobs in the queue's order, each where it is worth most now or later: backfill around everything placed before it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from moyai.model.reasons import Code, Considered, Reason
from moyai.plan.explain import Offer, rank, rows
from moyai.plan.problem import JobClass, Option, Problem
from moyai.plan.timeline import Quote, Timeline
from moyai.plan.types import QueuedJob


@dataclass(frozen=True, slots=True)
class Placed:
    """A job with its place."""

    job: QueuedJob
    cls: JobClass
    option: Option
    quote: Quote
    nodes: tuple[int, ...]
    rows: tuple[Considered, ...]

    @property
    def late_us(self) -> int:
        """How far past its deadline it ends."""
        return max(0, self.quote.end - self.cls.deadline) if self.cls.deadline is not None else 0


@dataclass(frozen=True, slots=True)
class Left:
    """A job without a place."""

    job: QueuedJob
    cls: JobClass
    reason: Reason
    rows: tuple[Considered, ...]


@dataclass(slots=True)
class Draft:
    """A whole plan before it is written out."""

    line: Timeline
    placed: list[Placed] = field(default_factory=list[Placed])
    left: list[Left] = field(default_factory=list[Left])
    value: int = 0

    def place(self, jobs: Sequence[QueuedJob], cls: JobClass, offer: Offer, considered: tuple[Considered, ...]) -> None:
        """Hold what the jobs need, and note them."""
        option, quote = offer
        nodes = self.line.hold(cls, option, quote, len(jobs), jobs[-1].job)
        for i, job in enumerate(jobs):
            mine = tuple(nodes[i * cls.ranks : (i + 1) * cls.ranks])
            self.placed.append(Placed(job, cls, option, quote, mine, considered))
        self.value += quote.value * len(jobs)

    def leave(self, jobs: Sequence[QueuedJob], cls: JobClass, offers: Sequence[Offer], last_start: int) -> None:
        """Note jobs that get no place."""
        reason = Reason(Code.NO_SITE)
        if offers:
            option, soonest = min(offers, key=lambda o: (o[1].issue, o[0].site))
            reason = Reason(Code.CAPACITY, option.site, soonest.awaits, found=soonest.issue - cls.now)
        considered = rows(cls, offers, None, last_start)
        self.left.extend(Left(job, cls, reason, considered) for job in jobs)
        self.value += cls.unplaced * len(jobs)


class Desk:
    """Quotes of every class, asked again only where something was placed since."""

    __slots__ = ("_known", "_line")

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._known: dict[int, list[tuple[tuple[int, int], Quote | None] | None]] = {}

    def offers(self, cls: JobClass) -> list[Offer]:
        """What each option of a class would be, placed next."""
        line, known = self._line, self._known.setdefault(id(cls), [None] * len(cls.options))
        found: list[Offer] = []
        for i, option in enumerate(cls.options):
            version, last = line.version(option), known[i]
            if last is None or last[0] != version:
                last = known[i] = (version, line.quote(cls, option, last[1] if last else None))
            if last[1] is not None:
                found.append((option, last[1]))
        return found


def greedy(problem: Problem, line: Timeline, order: Sequence[tuple[QueuedJob, JobClass]]) -> Draft:
    """Place the jobs in order, as many equal ones at once as fit. `line` is taken over by the draft."""
    draft, desk, last_start = Draft(line), Desk(line), problem.last_start
    i = 0
    while i < len(order):
        cls = order[i][1]
        run = i + 1
        while run < len(order) and order[run][1] is cls:
            run += 1
        offers = desk.offers(cls)
        best: Offer | None = None
        for offer in offers:
            if offer[1].issue <= last_start and (best is None or rank(offer, last_start) > rank(best, last_start)):
                best = offer
        if best is None:
            draft.leave([job for job, _ in order[i:run]], cls, offers, last_start)
            i = run
            continue
        count = run - i
        if count > 1:
            count = min(count, line.room(cls, *best))
        draft.place([job for job, _ in order[i : i + count]], cls, best, rows(cls, offers, best, last_start))
        i += count
    return draft


MOST_ROUNDS = 3
"""Times that jobs which would miss their deadlines are moved ahead of their equals."""
MANY_CLASSES = 100
"""With more classes than that, it is tried once."""


def with_deadlines(problem: Problem, first: Draft, start: Timeline) -> Draft:
    """`first`, or a better draft in which jobs that would be late go before others of their priority.

    A reservation yields to a deadline alone, and only where the whole plan gains by it.
    """
    best, ahead = first, set[str]()
    draft = first
    for _ in range(MOST_ROUNDS if len(problem.classes) <= MANY_CLASSES else 1):
        late = [
            p.job.job
            for p in draft.placed
            if p.late_us and p.quote.end > min(o.soonest + o.run_us for o in p.cls.options)
        ]
        if all(job in ahead for job in late):
            break
        ahead.update(late)
        order = sorted(
            problem.queue,
            key=lambda q: (
                -q[0].order.priority,
                q[0].job not in ahead,
                (q[0].order.deadline or 0) if q[0].job in ahead else 0,
                q[0].submitted_at,
                q[0].job,
            ),
        )
        draft = greedy(problem, start.copy(), order)
        if draft.value > best.value:
            best = draft
    return best
