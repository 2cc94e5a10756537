"""What a plan at scale means for one job: its rows, and when it may start if it doesn't now."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moyai.model.ids import JobId
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.units import J_PER_KWH, MICRO_YEN, MICROS_PER_HOUR
from moyai.plan.price.instance import F32, I64
from moyai.plan.problem import LEAST_LEFT
from moyai.plan.scale.classes import Kind
from moyai.plan.scale.shapes import Columns, Shape
from moyai.plan.scale.table import Table
from moyai.plan.types import Waiting


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """A `Later`, frozen at the time of the plan.

    kinds     of each job that was due
    cls_of    (rows,) the class of each row of `Classes`; −1 where it had none
    shapes    by class of the instance
    run       (classes,) hours of a whole run
    latest    (classes,) hours from now until the latest start in time
    bids      (classes, columns) as in `Round`
    best      (classes,) as in `Round`
    free      (columns,) units that nothing holds
    soonest   (classes,) hours until the first of its jobs that wait is planned to start; NaN where none is
    """

    now: int
    columns: Columns
    table: Table
    kinds: Mapping[JobId, Kind]
    cls_of: I64
    shapes: tuple[Shape, ...]
    run: tuple[float, ...]
    latest: tuple[float, ...]
    bids: F32
    best: F32
    free: I64
    soonest: tuple[float, ...]

    def of(self, job: JobId, /) -> Waiting | None:
        """See `Later`."""
        kind = self.kinds.get(job)
        if kind is None:
            return None
        cls = int(self.cls_of[kind.row])
        if cls < 0:
            return None
        hours = self.soonest[cls]
        if np.isnan(hours):
            hours = min(self.free_in(int(c), cls) for c in np.flatnonzero(self.shapes[cls].feasible))
        return Waiting(job, Reason(Code.CAPACITY, found=_us(hours)), self.rows(cls, None))

    def free_in(self, column: int, cls: int) -> float:
        """Hours until a column has the units of one job of a class, if what runs ends as expected and none comes.

        At most the horizon.
        """
        short = int(self.table.instance.gang[cls]) - int(self.free[column])
        if short <= 0:
            return 0.0
        held = self.table.held
        mine = held[held[:, 0] == column]
        mine = mine[np.argsort(mine[:, 2], kind="stable")]
        freed = np.cumsum(mine[:, 1])
        at = int(np.searchsorted(freed, short))
        last = float(self.table.edges[-1])
        return min(float(mine[at, 2]), last) if at < len(mine) else last

    def rows(self, cls: int, chosen: int | None) -> tuple[Considered, ...]:
        """A row for each site, for a job of a class that starts in the column `chosen`, or waits."""
        shape, columns, table = self.shapes[cls], self.columns, self.table
        buckets = len(table.edges) - 1
        now_worth = table.instance.value[cls].reshape(columns.count, buckets)[:, 0]
        found: list[Considered] = []
        for s, view in enumerate(columns.sites):
            out = shape.excluded[s]
            mine = [c for c in range(s * columns.width, (s + 1) * columns.width) if shape.feasible[c]]
            if chosen in mine:
                found.append(self._row(cls, chosen, chosen))
            elif mine:
                found.append(self._row(cls, max(mine, key=lambda c: float(now_worth[c])), chosen))
            elif out is not None:
                found.append(out)
            else:  # CPU work, and only nodes with accelerators
                reason = Reason(Code.NO_FLAVOR, detail="its nodes are kept for accelerators")
                found.append(Considered(view.profile.name, "", False, reason))
        return tuple(found)

    def _row(self, cls: int, column: int, chosen: int | None) -> Considered:
        shape, table = self.shapes[cls], self.table
        at = self.columns.at(column)
        assert at is not None, "a column without a flavor"
        profile, run = at[0].profile, self.run[cls]
        left = max(run - float(shape.covered[column]), run / LEAST_LEFT)
        wait = 0.0 if column == chosen else self.free_in(column, cls)
        start = self.now + _us(wait + float(shape.delay[column]))
        kwh = float(shape.kw[column]) * left
        return Considered(
            site=profile.name,
            flavor=at[1].name,
            feasible=True,
            reason=self._reason(cls, column, chosen, wait),
            start=start,
            end=start + _us(left),
            cost_micro_yen=round(float(table.cost[cls, column]) * MICRO_YEN),
            energy_j=round(kwh * J_PER_KWH),
            carbon_mg=round(kwh * profile.carbon_mg_per_kwh),
            moved_bytes=sum(m.size_bytes for m in shape.moves[column]),
        )

    def _reason(self, cls: int, column: int, chosen: int | None, wait: float) -> Reason:
        if column == chosen:
            return Reason(Code.CHOSEN, subject=self.columns.sites[column // self.columns.width].profile.name)
        table, buckets = self.table, len(self.table.edges) - 1
        worth = table.instance.value[cls].reshape(-1, buckets)[:, 0]
        gang = int(table.instance.gang[cls])
        if chosen is None and wait <= 0 and self.bids[cls, column] <= 0:  # it waits for a better place or time
            return Reason(Code.DEARER, found=max(0, round(float(self.best[cls] - worth[column]) * gang * MICRO_YEN)))
        if chosen is None or wait > 0:
            return Reason(Code.BUSY, found=_us(wait))
        shape = self.shapes[cls]
        late = [float(shape.delay[c] - shape.covered[c]) - self.latest[cls] for c in (column, chosen)]
        if late[0] > 0 >= late[1]:
            return Reason(Code.LATE, found=_us(late[0]))
        lost = float(worth[chosen] - worth[column]) * gang
        return Reason(Code.DEARER, found=max(0, round(lost * MICRO_YEN)))


def _us(hours: float) -> int:
    return round(hours * MICROS_PER_HOUR)
