"""Who starts now: every class bids for the nodes that are free, with what starting now is worth to it beyond waiting.

A bid is yen for each hour of the first bucket: the value of a start now, less what its later hours cost at the prices,
less the best that the class could have later or elsewhere at those prices. So the nodes go to whom waiting costs most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from moyai.model.units import MICROS_PER_HOUR
from moyai.plan.pack import Size, size_of
from moyai.plan.price.fill import largest_gang
from moyai.plan.price.instance import F32, F64, I64, Instance, per_gpu
from moyai.plan.problem import PoolKey
from moyai.plan.scale.board import Shadow
from moyai.plan.scale.classes import Kind, run_hours
from moyai.plan.scale.table import Scene, Table
from moyai.plan.types import QueuedJob

MOST_SHADOWS = 16
"""Pools of one plan in which nodes are kept for a job that doesn't fit yet."""
_BATCH = 4_096
"""Bids that are looked at before those that no longer fit are put aside."""


@dataclass(frozen=True, slots=True)
class Start:
    """A job that starts now."""

    job: QueuedJob
    cls: int  # of the instance
    column: int
    nodes: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Round:
    """What an auction came to.

    left     (classes,) jobs that don't start
    best     (classes,) yen per unit that one could have later, or elsewhere, at the prices; at least 0
    bids     (classes, columns) yen per unit and hour; not above zero where a class would rather wait
    shadows  by pool; whose they are, by class
    """

    bids: F32
    best: F32
    left: I64
    starts: list[Start] = field(default_factory=list[Start])
    shadows: dict[PoolKey, Shadow] = field(default_factory=dict[PoolKey, Shadow])
    keepers: dict[PoolKey, int] = field(default_factory=dict[PoolKey, int])


def bids_of(instance: Instance, hourly: F64) -> tuple[F32, F32]:
    """`Round.bids` and `Round.best` at prices of an hour (see `per_hour`)."""
    sites, flavors, buckets = instance.shape
    columns, classes = sites * flavors, instance.classes
    priced = per_gpu(instance, hourly).astype(np.float32)  # (lengths, options)
    own = np.einsum("tfj,sfj->tsf", instance.hours[:, :, 0, 1:], hourly[:, :, 1:]).reshape(len(priced), columns)
    first = np.maximum(instance.hours[:, :, 0, 0], 1e-6)
    first = np.tile(first, (1, sites)).astype(np.float32)  # (lengths, columns)
    bids = np.full((classes, columns), -np.inf, np.float32)
    least = np.zeros(classes, np.float32)
    fits = largest_gang(instance, instance.limits) + 1e-6
    for length, start, last in instance.chunks():
        value = instance.value[start:last]
        gain = value - priced[length]
        gain[(value <= 0) | (instance.gang[start:last, None] > fits[length])] = -np.inf
        gain = gain.reshape(len(value), columns, buckets)
        best = least[start:last] = np.maximum(gain[:, :, 1:].max((1, 2), initial=0.0), 0.0)
        now = value.reshape(len(value), columns, buckets)[:, :, 0]
        wins = (now - own[length].astype(np.float32) - best[:, None]) / first[length]
        bids[start:last] = np.where(now > 0, wins, -np.inf)
    return bids, least


def auction(scene: Scene, table: Table, hourly: F64, wishes: I64 | None = None) -> Round:
    """Start what fits, in falling order of bids; `wishes` (classes, columns), jobs that a plan starts now, go first.

    Where the best column of a class has no room for a job of it, nodes of that pool are kept for it from the time on at
    which they are expected to be free; whoever comes after it takes them only to be gone by then.
    """
    instance = table.instance
    found = Round(*bids_of(instance, hourly), instance.jobs.copy())
    floor = _Floor(scene, table, found)
    if wishes is not None and wishes.any():
        cls, column = np.nonzero(wishes)
        order = np.lexsort((cls, -found.bids[cls, column], -instance.gang[cls]))
        for i in order.tolist():
            k, c = int(cls[i]), int(column[i])
            floor.start(k, c, int(wishes[k, c]), keep=False)
    cls, column = np.nonzero(found.bids > 0)
    bid = found.bids[cls, column]
    order = np.lexsort((column, cls, -bid))
    cls, column = cls[order], column[order]
    while len(cls):
        head = slice(0, _BATCH)
        for k, c in zip(cls[head].tolist(), column[head].tolist(), strict=True):
            if found.left[k]:
                floor.start(k, c, int(found.left[k]), keep=True)
        cls, column = cls[_BATCH:], column[_BATCH:]
        if len(cls):
            open_ = (found.left[cls] > 0) & (free_units(scene)[column] >= instance.gang[cls])
            cls, column = cls[open_], column[open_]
    return found


def free_units(scene: Scene) -> I64:
    """(columns,) accelerators, or cores where a node has none, that nothing holds."""
    free = np.zeros(scene.columns.count, np.int64)
    for column in range(scene.columns.count):
        at = scene.columns.at(column)
        if at is not None:
            pool = scene.board.pools[at[0].profile.name, at[1].name]
            which = 2 if at[1].accelerators else 0
            free[column] = sum(max(0, size[which]) * len(nodes) for size, nodes in pool.by_free.items())
    return free


class _Floor:
    """The room in which the auction is held: who has been served, and who found no room where."""

    def __init__(self, scene: Scene, table: Table, found: Round) -> None:
        self._classes, self._board, self._columns, self._now = scene.classes, scene.board, scene.columns, scene.now
        self._table, self._found = table, found
        self._queues: dict[int, Iterator[QueuedJob]] = {}
        self._full: set[tuple[int, Size, int, bool]] = set()  # only asked for membership
        self._keys: dict[int, PoolKey] = {}
        self._run = run_hours(scene.classes.run[table.rows]) * MICROS_PER_HOUR

    def start(self, cls: int, column: int, count: int, *, keep: bool) -> None:
        """Start up to `count` jobs of a class in a column. With `keep`, its best one, keep nodes for one that can't."""
        found, kind = self._found, self._kind(cls)
        first = next(iter(kind.jobs.values()))
        size, ranks = size_of(first.order.need), first.order.nodes
        key = self._key(column)
        shadow = found.shadows.get(key)
        end = self._now + round(float(self._run[cls]))
        late = shadow is not None and end > shadow.start
        if (column, size, ranks, late) in self._full:
            return
        shape = self._classes.shapes[int(self._classes.shape[self._table.rows[cls]])]
        assert shape.feasible[column], "a bid for a column that the rules exclude"
        spare = shadow.nodes if shadow is not None and late else ()
        jobs = self._queues.get(cls)
        if jobs is None:
            jobs = self._queues[cls] = iter(kind.jobs.values())
        power_w = int(shape.power_w[column])
        taken = self._board.take(key, size, ranks, count=count, power_w=power_w, end=end, spare=spare)
        found.starts.extend(Start(next(jobs), cls, column, nodes) for nodes in taken)
        found.left[cls] -= len(taken)
        if len(taken) < count:
            self._full.add((column, size, ranks, late))
            if keep and shadow is None and column == int(found.bids[cls].argmax()):
                self._keep(cls, key, size, ranks)
        elif not found.left[cls]:
            for other in [k for k, owner in found.keepers.items() if owner == cls]:
                del found.shadows[other], found.keepers[other]

    def _keep(self, cls: int, key: PoolKey, size: Size, ranks: int) -> None:
        found = self._found
        if len(found.shadows) >= MOST_SHADOWS or not self._board.pools[key].room((size[0] and 1, 0, size[2] and 1)):
            return
        shadow = self._board.shadow(key, size, ranks)
        if shadow is not None:
            found.shadows[key] = shadow
            found.keepers[key] = cls

    def _kind(self, cls: int) -> Kind:
        kind = self._classes.rows[int(self._table.rows[cls])]
        assert kind is not None, "a class of the table has no jobs"
        return kind

    def _key(self, column: int) -> PoolKey:
        key = self._keys.get(column)
        if key is None:
            at = self._columns.at(column)
            assert at is not None, "a column without a flavor"
            key = self._keys[column] = (at[0].profile.name, at[1].name)
        return key


def started(instance: Instance, starts: Sequence[Start]) -> I64:
    """(classes, columns) how many jobs start where."""
    sites, flavors, _ = instance.shape
    counts = np.zeros((instance.classes, sites * flavors), np.int64)
    for start in starts:
        counts[start.cls, start.column] += 1
    return counts
