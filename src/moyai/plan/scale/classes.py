"""The queue as classes, kept from cycle to cycle: a job costs something when it comes and when it goes, not in between.

A class is a make of jobs (`shapes`) with like run times, latest starts, tenant and priority. Run times are rounded to
steps of a half; latest starts down to a quarter of an hour or, where they are far off, to a part of what is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import log

import numpy as np

from moyai.model.ids import JobId, TenantName
from moyai.model.units import MICROS_PER_HOUR
from moyai.plan.price.instance import F64, I64, Bool
from moyai.plan.problem import Problem, weight_milli
from moyai.plan.scale.shapes import Columns, Make, Parts, Shape, data_key, make_of, shape_of
from moyai.plan.types import DataView, QueuedJob

SHORTEST_H = 0.05
"""Run times below it count as that."""
STEP = 1.5
"""Run times of one class differ by no more than that."""
QUARTER_US = MICROS_PER_HOUR // 4
NEVER = 1 << 62
"""The latest start of a job without a deadline."""
_GRID = 8
"""The latest start of a job is rounded to one part in so many of what is left until then."""
_LOG_STEP = log(STEP)

Key = tuple[Make, int, int, TenantName, int]


@dataclass(slots=True, eq=False)
class Kind:
    """A class: its row, and its jobs in the order in which they came."""

    key: Key
    row: int
    jobs: dict[JobId, QueuedJob] = field(default_factory=dict[JobId, QueuedJob])


@dataclass(slots=True, eq=False)
class _Made:
    """A shape that is in use."""

    index: int
    job: QueuedJob  # of its make
    users: int = 0  # classes


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The shapes as arrays, (shapes, columns); the rows of those that are no longer used hold what they held."""

    feasible: Bool
    kw: F64
    nodes: F64
    delay: F64
    egress: F64
    covered: F64


class Classes:
    """The classes of a queue. The arrays are by row, (rows,); rows without jobs are among them."""

    def __init__(self) -> None:
        self.kinds: dict[Key, Kind] = {}
        self.of: dict[JobId, Kind] = {}
        self.rows: list[Kind | None] = []
        self.shapes: list[Shape] = []
        self.tenants: list[TenantName] = []
        self.shape = np.zeros(64, np.int64)
        self.run = np.zeros(64, np.int64)  # steps of STEP from SHORTEST_H
        self.latest = np.zeros(64, np.int64)  # µs: the instant of the latest start in time; NEVER
        self.weight = np.zeros(64)  # nodes × priority × the tenant's weight
        self.tenant = np.zeros(64, np.int64)
        self.units = np.zeros(64, np.int64)
        self.jobs = np.zeros(64, np.int64)
        self._known: dict[JobId, QueuedJob] = {}
        self._made: dict[Make, _Made] = {}
        self._free_rows: list[int] = []
        self._free_shapes: list[int] = []
        self._tenant_of: dict[TenantName, int] = {}
        self._stack: Stack | None = None
        self._columns: Columns | None = None
        self._links: object = None
        self._data: dict[int, tuple[tuple[DataView, ...], Make]] = {}  # by id, of one look alone

    def sync(self, queue: Sequence[QueuedJob], problem: Problem, columns: Columns) -> None:
        """Take in what came, let go of what went. A job that isn't due yet counts as not there."""
        # Shapes keep what they were made from: not what runs.
        fleet = replace(problem.snapshot, busy=(), flows=())
        parts = Parts(replace(problem, snapshot=fleet), columns)
        self._look_again(parts)
        known, of, now = self._known, self.of, problem.now
        seen = {job.job: job for job in queue if job.not_before <= now}
        touched: list[Kind] = []
        for job in [job for name, job in seen.items() if known.get(name) is not job]:
            if job.job in of:
                touched.append(self._leave(job.job))
            touched.append(self._enter(job, parts))
        if len(seen) < len(of):
            touched.extend(self._leave(gone) for gone in [j for j in of if j not in seen])
        for kind in touched:
            if kind is self.rows[kind.row]:
                self.jobs[kind.row] = len(kind.jobs)
        self._known = seen
        self._data.clear()

    def stack(self) -> Stack:
        """The shapes as arrays."""
        if self._stack is None:
            shapes = self.shapes
            self._stack = Stack(
                np.stack([s.feasible for s in shapes]),
                np.stack([s.kw for s in shapes]),
                np.stack([s.nodes for s in shapes]),
                np.stack([s.delay for s in shapes]),
                np.stack([s.egress for s in shapes]),
                np.stack([s.covered for s in shapes]),
            )
        return self._stack

    def _look_again(self, parts: Parts) -> None:
        """Find the shapes anew where the rules of the fleet are others."""
        columns, links = parts.columns, parts.problem.snapshot.links
        old, self._columns = self._columns, columns
        before, self._links = self._links, links
        if old is None or (before == links and old.width == columns.width and old.rules == columns.rules):
            return
        for make, made in self._made.items():
            self.shapes[made.index] = shape_of(parts, made.job, make)
        self._stack = None
        for kind in self.kinds.values():
            self.units[kind.row] = self.shapes[int(self.shape[kind.row])].units

    def _enter(self, job: QueuedJob, parts: Parts) -> Kind:
        problem = parts.problem
        make = make_of(job, self._data_key(job.data) if job.data else ())
        key = (make, _steps(job.run_us), _latest(job, problem.now), job.tenant, job.order.priority)
        kind = self.kinds.get(key)
        if kind is None:
            kind = self.kinds[key] = Kind(key, self._row())
            self.rows[kind.row] = kind
            made = self._made.get(make)
            if made is None:
                made = self._made[make] = self._new_shape(shape_of(parts, job, make), job)
            made.users += 1
            row = kind.row
            self.shape[row], self.units[row] = made.index, self.shapes[made.index].units
            self.run[row], self.latest[row] = key[1], key[2]
            self.weight[row] = job.order.nodes * weight_milli(problem.policy, job.tenant, job.order.priority) / 1_000
            self.tenant[row] = self._tenant(job.tenant)
        kind.jobs[job.job] = job
        self.of[job.job] = kind
        return kind

    def _data_key(self, data: tuple[DataView, ...]) -> Make:
        """`data_key`, found once for what many jobs of a look share."""
        known = self._data.get(id(data))
        if known is None or known[0] is not data:
            known = self._data[id(data)] = (data, data_key(data))
        return known[1]

    def _leave(self, job: JobId) -> Kind:
        kind = self.of.pop(job)
        del kind.jobs[job]
        if kind.jobs:
            return kind
        del self.kinds[kind.key]
        self.rows[kind.row] = None
        self.jobs[kind.row] = 0
        self._free_rows.append(kind.row)
        made = self._made[kind.key[0]]
        made.users -= 1
        if not made.users:
            del self._made[kind.key[0]]
            self._free_shapes.append(made.index)
        return kind

    def _row(self) -> int:
        if self._free_rows:
            return self._free_rows.pop()
        self.rows.append(None)
        if len(self.rows) > len(self.jobs):
            for name in ("shape", "run", "latest", "weight", "tenant", "units", "jobs"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
        return len(self.rows) - 1

    def _new_shape(self, shape: Shape, job: QueuedJob) -> _Made:
        self._stack = None
        if self._free_shapes:
            index = self._free_shapes.pop()
            self.shapes[index] = shape
        else:
            index = len(self.shapes)
            self.shapes.append(shape)
        return _Made(index, job)

    def _tenant(self, name: TenantName) -> int:
        found = self._tenant_of.get(name)
        if found is None:
            found = self._tenant_of[name] = len(self.tenants)
            self.tenants.append(name)
        return found


def run_hours(steps: I64) -> F64:
    """Hours that runs of so many steps take."""
    return SHORTEST_H * STEP ** steps.astype(np.float64)


def _steps(run_us: int) -> int:
    hours = run_us / MICROS_PER_HOUR
    return round(log(hours / SHORTEST_H) / _LOG_STEP) if hours > SHORTEST_H else 0


def _latest(job: QueuedJob, now: int) -> int:
    """The latest start in time, rounded down: never later than the true one."""
    deadline = job.order.deadline
    if deadline is None:
        return NEVER
    latest = deadline - job.run_us
    step, left = QUARTER_US, (latest - now) // _GRID
    while step < left:
        step *= 2
    return latest // step * step
