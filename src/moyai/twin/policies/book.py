"""The queue as classes of jobs that may go to the same places, carried from call to call.

Jobs of a class need the same room under the same rules, so that once one of them finds none, the others don't either.
How long they run may differ.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from moyai.model.ids import JobId
from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.plan.pack import Size, size_of
from moyai.plan.problem import Option, build
from moyai.plan.types import Policy, QueuedJob, Snapshot
from moyai.twin.policies.board import Board
from moyai.twin.policies.pools import Pool

Key = tuple[int | str, ...]
"""What jobs are ordered by; it ends with the job's id, so that no two are equal."""
Spot = tuple[Pool, tuple[Option, ...]]
"""A pool, and the ways to run a job there: from the start, or from a checkpoint here or elsewhere."""

MOST_IDLE_CLASSES = 10_000
"""Classes without jobs that are kept, as their like may come again. Beyond it all of them go."""


@dataclass(slots=True, eq=False)
class Shape:
    """The room that jobs need: ranks of a size. `room` has the bit of each pool where they fit now."""

    size: Size
    ranks: int
    room: int = 0
    seen: list[int] = field(default_factory=list[int])  # version of each pool at the last look

    def look(self, pools: Sequence[Pool]) -> None:
        """Ask the pools that changed."""
        if len(self.seen) != len(pools):
            self.seen, self.room = [-1] * len(pools), 0
        seen = self.seen
        for i, pool in enumerate(pools):
            if seen[i] != pool.version:
                seen[i] = pool.version
                if pool.nodes.has_room(self.size, self.ranks):
                    self.room |= 1 << i
                else:
                    self.room &= ~(1 << i)


@dataclass(slots=True, eq=False)
class JobClass:
    """Jobs under the same rules, in order."""

    number: int  # unique
    need: Need
    shape: Shape
    jobs: list[tuple[Key, QueuedJob]] = field(default_factory=list[tuple[Key, QueuedJob]])
    runs: list[int] = field(default_factory=list[int])  # the run times of the jobs, rising
    spots: tuple[Spot, ...] = ()  # by site and flavor, as far as the policy goes there
    mask: int = 0  # the bits of their pools
    rules: int = -1  # of the board, when the spots were found


class Book:
    """The jobs that wait, by class."""

    __slots__ = ("_classes", "_key", "_last", "_learn", "_narrow", "_numbers", "_see", "_shapes", "_where", "waiting")

    def __init__(
        self,
        see: Callable[[QueuedJob], QueuedJob],
        key: Callable[[QueuedJob], Key],
        narrow: Callable[[QueuedJob, tuple[Spot, ...]], tuple[Spot, ...]],
        learn: Callable[[QueuedJob], None],
    ) -> None:
        """`see` puts in what a policy knows of a job, `key` orders them, `narrow` tells where a policy goes with one.

        `learn` hears of each job that comes. Only the order may change with what `see` puts in, and the run time.
        """
        self._see, self._key, self._narrow, self._learn = see, key, narrow, learn
        self._last: list[QueuedJob] = []
        self._where: dict[JobId, tuple[QueuedJob, JobClass, Key]] = {}
        self._classes: dict[tuple[object, ...], JobClass] = {}
        self._shapes: dict[tuple[Size, int], Shape] = {}
        self._numbers = 0
        self.waiting: dict[int, JobClass] = {}  # classes with jobs, by number

    def sync(self, queue: Sequence[QueuedJob], placed: set[JobId]) -> None:
        """Become the queue. `placed` are jobs that most likely left it since the last time."""
        queue, rest = list(queue), self._last
        if self._without(rest, placed) and queue[: len(rest)] == rest:
            for job in placed:
                self._remove(job)
            fresh = queue[len(rest) :]
        else:
            now = {j.job: j for j in queue}
            for job, (known, _, _) in list(self._where.items()):
                if now.get(job) is not known:
                    self._remove(job)
            fresh = now.values()
        for job in fresh:
            if job.job not in self._where:
                self._add(job)
        self._last = queue

    def _without(self, queue: list[QueuedJob], placed: set[JobId]) -> bool:
        """Take jobs out of a queue, which is the oldest job first. False where it isn't, and one isn't found."""
        for job_id in placed:
            job = self._where[job_id][0]
            at = bisect_left(queue, job.submitted_at, key=_submitted)
            while at < len(queue) and queue[at] is not job and queue[at].submitted_at == job.submitted_at:
                at += 1
            if at == len(queue) or queue[at] is not job:
                return False
            del queue[at]
        return True

    def open(self, snapshot: Snapshot, board: Board, now: Instant, policy: Policy) -> list[Pool]:
        """Bring the spots of all classes with jobs, and the room of their shapes, up to date. Returns the pools."""
        pools = list(board.pools.values())
        for cls in self.waiting.values():
            if cls.rules != board.rules:
                self._find_spots(cls, snapshot, board, now, policy)
        for shape in {id(cls.shape): cls.shape for cls in self.waiting.values()}.values():
            shape.look(pools)
        return pools

    def _find_spots(self, cls: JobClass, snapshot: Snapshot, board: Board, now: Instant, policy: Policy) -> None:
        """Where the rules let its jobs be: production's own options for the first of them."""
        job = cls.jobs[0][1]
        options: dict[Pool, list[Option]] = {}
        for option in build(snapshot, (job,), now, policy).classes[0].options:
            options.setdefault(board.pools[option.pool], []).append(option)
        spots = tuple((pool, tuple(found)) for pool, found in sorted(options.items(), key=lambda s: s[0].index))
        cls.spots = self._narrow(job, spots)
        cls.mask = sum(1 << pool.index for pool, _ in cls.spots)
        cls.rules = board.rules

    def _add(self, job: QueuedJob) -> None:
        of = _class_of(job)
        cls = self._classes.get(of)
        if cls is None:
            if len(self._classes) - len(self.waiting) >= MOST_IDLE_CLASSES:
                self._classes = {k: c for k, c in self._classes.items() if c.jobs}
            size, ranks = size_of(job.order.need), job.order.nodes
            shape = self._shapes.setdefault((size, ranks), Shape(size, ranks))
            self._numbers += 1
            cls = self._classes[of] = JobClass(self._numbers, job.order.need, shape)
        self.waiting[cls.number] = cls
        seen = self._see(job)
        key = self._key(seen)
        insort(cls.jobs, (key, seen))
        insort(cls.runs, seen.run_us)
        self._where[job.job] = (job, cls, key)
        self._learn(job)

    def _remove(self, job_id: JobId) -> None:
        known = self._where.pop(job_id, None)
        if known is None:
            return
        _, cls, key = known
        at = bisect_left(cls.jobs, (key,))
        del cls.runs[bisect_left(cls.runs, cls.jobs[at][1].run_us)]
        del cls.jobs[at]
        if not cls.jobs:
            del self.waiting[cls.number]


def _submitted(job: QueuedJob) -> Instant:
    return job.submitted_at


def _class_of(job: QueuedJob) -> tuple[object, ...]:
    """Everything about a job that the rules look at."""
    order = job.order
    return (
        (order.need, order.nodes, job.tenant, order.residency, order.capabilities, job.capabilities),
        (job.data, job.resumes, job.restricted, job.avoid),
    )
