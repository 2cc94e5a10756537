"""Upper bounds on the value of every plan of a problem. Each holds at any prices; better prices bring it closer.

Three of them, each dearer to find: what every job could have at best on an empty fleet; at best beside what runs now;
and a Lagrangian with prices of node capacity and of power over time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moyai.model.units import MICRO_YEN, MICROS_PER_HOUR
from moyai.plan.greedy import Draft
from moyai.plan.problem import JobClass, Option, PoolKey, Problem
from moyai.plan.timeline import Timeline
from moyai.plan.units import MEASURES, held_by, measures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]
    I64 = NDArray[np.int64]

MOST_BUCKETS = 400
"""Intervals of time of one site that have a price of their own."""
MOST_CELLS = 30_000
"""Classes × options × starts of one evaluation; buckets are made wider until it holds."""
MOST_ROWS = 20_000
"""Classes × options beyond which no prices are sought in this form: the plain bound stands."""
MOST_ROUNDS = 60
_WORK = 500_000
"""Cells that all evaluations together may take."""


def alone(problem: Problem, start: Timeline) -> int:
    """What every job could have at best beside what runs now (`start`), each as if it were the only one queued."""
    return sum(len(cls.jobs) * best_alone(cls, start) for cls in problem.classes)


def best_alone(cls: JobClass, start: Timeline) -> int:
    """What one job of a class could have at best beside what runs now."""
    best = cls.unplaced
    for option in sorted(cls.options, key=lambda o: -cls.best_value(o, o.soonest)):
        if cls.best_value(option, option.soonest) <= best:
            break
        at = start.alone(cls, option)
        if at is not None:
            best = max(best, cls.best_value(option, at))
    return best


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where instants lie among the edges: the index into (rows, buckets) flattened, and the µs past that edge."""

    index: I64
    past: F64


@dataclass(slots=True, eq=False)
class _Site:
    """The options at one site, and the prices of what they share there. Times are µs from the plan's now.

    starts, ends  (rows, starts)    of an option's work
    value         (rows, starts)    micro-yen, before prices
    use           (rows, resources) node units, or parts of the site's spare power
    edges         (buckets + 1,)    of time
    room          (resources, buckets) capacity × µs that queued jobs may take
    price         (resources, buckets) micro-yen per unit and µs
    """

    cls: I64  # (rows,) index of the class
    starts: F64
    ends: F64
    value: F64
    begun: _Places
    ended: _Places
    use: F64
    edges: F64
    room: F64
    price: F64
    slope: F64  # (resources,) where prices begin: micro-yen per unit, µs and µs of backlog
    backlogs: tuple[float, float]  # µs from now until nobody waits there: by the last planned start, and by value


def priced(problem: Problem, draft: Draft, start: Timeline, bound: int) -> int:
    """The best Lagrangian bound found near the prices that `draft` suggests; `bound` where none is better.

    A job pays for the node capacity and the power that it takes at each time; what it still gains, plus the price of
    all there is, is at least what any plan is worth. Prices move by Polyak's subgradient steps towards the draft.
    Source: Lagrangian relaxation; Polyak 1969; Boyd & Vandenberghe 2004, ch. 5.
    """
    import numpy as np

    if not 0 < sum(len(cls.options) for cls in problem.classes) <= MOST_ROWS:
        return bound
    sites = _sites(problem, draft, start)
    counts = np.array([len(c.jobs) for c in problem.classes], dtype=np.float64)
    floor = np.array([float(c.unplaced) for c in problem.classes])
    size = sum(s.value.size for s in sites)
    scale = float(sum(abs(c.ideal) * len(c.jobs) for c in problem.classes))
    slack = scale * 1e-9 + 16.0 * float(counts.sum())  # what floats and rounded values may hide
    goal = draft.value + problem.policy.exact_gap_milli * max(abs(draft.value), MICRO_YEN) // 2_000
    best, kept = float(bound), [s.price for s in sites]
    for factor, which in ((1.0, 1), (1.0, 0), (0.7, 1), (0.5, 0), (0.25, 0)):
        for site in sites:
            site.price = factor * _first_prices(site, site.backlogs[which])
        found, _ = _evaluate(sites, counts, floor)
        if found + slack < best:
            best, kept = found + slack, [s.price for s in sites]
    for site, price in zip(sites, kept, strict=True):
        site.price = price
    aim, stalled = 1.0, 0
    for _ in range(min(MOST_ROUNDS, max(10, _WORK // max(1, size)))):
        if best <= goal:
            break
        found, spare = _evaluate(sites, counts, floor)
        if found + slack < best * (1 - 1e-9) or found + slack < best - 1:
            best, kept, stalled = found + slack, [s.price for s in sites], 0
        else:
            stalled += 1
            if stalled >= 4:
                aim, stalled = aim / 2, 0
                for site, price in zip(sites, kept, strict=True):
                    site.price = price
                found, spare = _evaluate(sites, counts, floor)
        width = [np.diff(s.edges) for s in sites]
        norm = sum(float((g * g / w).sum()) for g, w in zip(spare, width, strict=True))
        target = best - aim * (best - draft.value)
        if norm <= 0 or found <= target:
            break
        step = (found - target) / norm
        for site, g, w in zip(sites, spare, width, strict=True):
            site.price = np.maximum(0.0, site.price - step * g / w)
    return min(bound, int(np.ceil(best)))


def _first_prices(site: _Site, backlog: float) -> F64:
    """Prices that fall to zero over the backlog: what a µs of capacity is worth to those who wait behind it."""
    import numpy as np

    left = np.maximum(0.0, backlog - site.edges[:-1])
    return site.slope[:, None] * left[None, :]


def _evaluate(sites: Sequence[_Site], counts: F64, floor: F64) -> tuple[float, list[F64]]:
    """(the dual value at the sites' prices, the capacity each price leaves unused: its slope)."""
    import numpy as np

    best, where = floor.copy(), [np.full(len(floor), -1), np.zeros(len(floor), dtype=np.int64)]
    site_of = np.full(len(floor), -1)
    total = 0.0
    for i, site in enumerate(sites):
        total += float((site.price * site.room).sum())
        pays = site.use @ site.price  # (rows, buckets) micro-yen per µs
        paid = np.cumsum(pays * np.diff(site.edges), axis=1) - pays * np.diff(site.edges)  # until each bucket begins
        gain = site.value + paid.take(site.begun.index) + pays.take(site.begun.index) * site.begun.past
        gain -= paid.take(site.ended.index) + pays.take(site.ended.index) * site.ended.past
        column = gain.argmax(axis=1)
        top = gain[np.arange(len(gain)), column]
        order = np.argsort(top, kind="stable")  # the best row of a class comes last and stays
        here = np.full(len(floor), -1)
        here[site.cls[order]] = order
        rows = np.maximum(here, 0)
        better = (here >= 0) & (top[rows] > best)
        best = np.where(better, top[rows], best)
        where[0] = np.where(better, here, where[0])
        where[1] = np.where(better, column[rows], where[1])
        site_of = np.where(better, i, site_of)
    total += float(counts @ best)
    spare: list[F64] = []
    for i, site in enumerate(sites):
        mine = np.flatnonzero(site_of == i)
        rows, columns = where[0][mine], where[1][mine]
        begin, end = site.starts[rows, columns][:, None], site.ends[rows, columns][:, None]
        overlap = np.clip(np.minimum(end, site.edges[1:]) - np.maximum(begin, site.edges[:-1]), 0.0, None)
        spare.append(site.room - (site.use[rows] * counts[mine][:, None]).T @ overlap)
    return total, spare


def _places(times: F64, edges: F64) -> _Places:
    """Where `times` (rows, starts) lie among `edges`; those outside count as at the nearest one."""
    import numpy as np

    buckets = len(edges) - 1
    inside = np.clip(times, edges[0], edges[-1])
    bucket = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, buckets - 1)
    return _Places(np.arange(len(times))[:, None] * buckets + bucket, inside - edges[bucket])


def _sites(problem: Problem, draft: Draft, start: Timeline) -> list[_Site]:
    """Every site that has options, with its buckets, resources and capacity."""
    options: dict[str, list[tuple[int, Option]]] = {}
    for i, cls in enumerate(problem.classes):
        for option in cls.options:
            options.setdefault(option.site, []).append((i, option))
    rows = sum(len(found) for found in options.values())
    buckets = max(8, min(MOST_BUCKETS, MOST_CELLS // max(1, 2 * rows)))
    worst: list[int | None] = [None] * len(problem.classes)
    index = {id(cls): i for i, cls in enumerate(problem.classes)}
    for placed in draft.placed:
        i, value = index[id(placed.cls)], placed.quote.value
        level = worst[i]
        worst[i] = value if level is None else min(level, value)
    return [
        _site(problem, draft, start, site, options=options[site], worst=worst, buckets=buckets)
        for site in sorted(options)
    ]


def _site(
    problem: Problem,
    draft: Draft,
    start: Timeline,
    site: str,
    *,
    options: list[tuple[int, Option]],
    worst: list[int | None],
    buckets: int,
) -> _Site:
    import numpy as np

    now = problem.now
    placed = [p for p in draft.placed if p.option.site == site]
    pools = sorted({o.pool for _, o in options})
    times = [p.quote.issue - now for p in placed] + [p.quote.end - now for p in placed]
    times += [end - now for key in pools for _, end in start.busy(key)]
    edges = _edges(times, buckets)
    cls = [problem.classes[i] for i, _ in options]
    soonest = np.array([o.soonest - now for _, o in options], dtype=np.float64)[:, None]
    run = np.array([o.run_us for _, o in options], dtype=np.float64)[:, None]
    due = np.array([(c.deadline if c.deadline is not None else now) - now for c in cls], dtype=np.float64)[:, None]
    kinks = np.concatenate([soonest, due - run, np.broadcast_to(edges, (len(cls), len(edges))), edges - run], axis=1)
    starts = np.maximum(kinks, soonest)
    ends = starts + run
    flat = [c.worth - o.run_micro_yen - o.least_egress for c, (_, o) in zip(cls, options, strict=True)]
    value = np.array(flat, dtype=np.float64)[:, None]
    whole = np.array([c.run_us for c in cls], dtype=np.float64)[:, None]
    wait = np.array([c.wait_rate for c in cls], dtype=np.float64)[:, None]
    late = np.array([c.late_rate if c.deadline is not None else 0 for c in cls], dtype=np.float64)[:, None]
    value = value - wait * (ends - whole) / MICROS_PER_HOUR
    value = value - late * np.maximum(0.0, ends - due) / MICROS_PER_HOUR
    uses: list[F64] = []
    rooms: list[F64] = []
    for key in pools:
        use, room = _node_units(problem, start, key, options, edges)
        uses.append(use)
        rooms.append(room)
    if site in problem.idle_w:
        use, room = _power_units(problem, start, site, options, edges)
        uses.append(use)
        rooms.append(room)
    use = np.concatenate(uses, axis=1)
    urgency = wait[:, 0] / np.maximum(run[:, 0], 1.0) / MICROS_PER_HOUR
    weight = use * run
    total = weight.sum(axis=0)
    slope = np.divide(weight.T @ urgency, total * np.maximum(use.max(axis=0), 1e-12), where=total > 0, out=total * 0)
    return _Site(
        cls=np.array([i for i, _ in options], dtype=np.int64),
        starts=starts,
        ends=ends,
        value=value,
        begun=_places(starts, edges),
        ended=_places(ends, edges),
        use=use,
        edges=edges,
        room=np.concatenate(rooms, axis=0),
        price=np.zeros((use.shape[1], len(edges) - 1)),
        slope=slope,
        backlogs=(float(max((p.quote.issue - now for p in placed), default=0)), _backlog(options, cls, worst, now)),
    )


def _backlog(options: list[tuple[int, Option]], cls: list[JobClass], worst: list[int | None], now: int) -> float:
    """µs from now until which jobs would rather start here than be as badly off as the worst planned of their class.

    The mean over the options, by the time that all jobs of the class would take.
    """
    total = weighed = 0.0
    for (i, option), mine in zip(options, cls, strict=True):
        level = worst[i]
        if level is None or not mine.wait_rate:
            continue
        spare = max(0, mine.best_value(option, option.soonest) - level) / mine.wait_rate * MICROS_PER_HOUR
        weight = len(mine.jobs) * mine.ranks * option.run_us
        total += weight
        weighed += weight * (option.soonest - now + spare)
    return weighed / total if total else 0.0


def _edges(times: list[int], buckets: int) -> F64:
    """Edges of buckets: 0 and every instant at which something begins or ends, thinned out evenly to `buckets`."""
    import numpy as np

    marks = np.unique(np.array([0, *(t for t in times if t > 0)], dtype=np.float64))
    if len(marks) > buckets + 1:
        marks = marks[np.unique(np.linspace(0, len(marks) - 1, buckets + 1).astype(np.int64))]
    return marks if len(marks) > 1 else np.array([0.0, 1.0])


def _node_units(
    problem: Problem, start: Timeline, key: PoolKey, options: list[tuple[int, Option]], edges: F64
) -> tuple[F64, F64]:
    """((rows, resources) node units that an option takes of a pool, (resources, buckets) node units × µs left)."""
    import numpy as np

    flavor = next(o.flavor for _, o in options if o.pool == key)
    zero = (0.0,) * MEASURES
    sizes = {cls.size: measures(flavor, cls.size) for cls in (problem.classes[i] for i, _ in options)}
    use = np.array([sizes[problem.classes[i].size] if o.pool == key else zero for i, o in options])
    use *= np.array([problem.classes[i].ranks for i, _ in options])[:, None]
    width = np.diff(edges)
    held: dict[int, F64] = {}
    for busy, end in start.busy(key):
        lasts = np.clip(np.minimum(end - problem.now, edges[1:]) - edges[:-1], 0.0, None)
        for node, parts in held_by(flavor, busy).items():
            taken = np.outer(np.array(parts), lasts)
            held[node] = held[node] + taken if node in held else taken
    room = np.tile(flavor.count * width, (MEASURES, 1))
    for taken in held.values():
        room = room - np.minimum(taken, width)
    keep: list[int] = []
    for r in np.argsort(-(use.sum(axis=0)), kind="stable"):
        dominated = any((use[:, r] <= use[:, k]).all() and (room[r] >= room[k]).all() for k in keep)
        if use[:, r].any() and not dominated:
            keep.append(int(r))
    keep = keep[:4]
    return use[:, keep], room[keep]


def _power_units(
    problem: Problem, start: Timeline, site: str, options: list[tuple[int, Option]], edges: F64
) -> tuple[F64, F64]:
    """The same of a capped site's power, in parts of what its idle nodes leave."""
    import numpy as np

    view = next(v for v in problem.sites if v.profile.name == site)
    spare_w = max(1, view.profile.power_cap_w - problem.idle_w[view.profile.name])
    use = np.array([[o.power_w / spare_w] for _, o in options])
    room = np.diff(edges)
    for busy in problem.snapshot.busy:
        if busy.site == site:
            end = next(e for b, e in start.busy((busy.site, busy.flavor)) if b.attempt == busy.attempt)
            lasts = np.clip(np.minimum(end - problem.now, edges[1:]) - edges[:-1], 0.0, None)
            room = room - busy.power_w / spare_w * lasts
    return use, np.maximum(room, 0.0)[None, :]
