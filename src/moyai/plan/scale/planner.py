"""`ScalePlanner`: the plan of a long queue. It keeps nodes, classes and prices from one call to the next."""

from collections.abc import Sequence

import numpy as np

from moyai.facility.grid import energy_j
from moyai.model.events import Placement
from moyai.model.ids import TenantName
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.units import MICRO_YEN, MICROS_PER_HOUR, Instant
from moyai.plan.lanes import Lanes
from moyai.plan.price.fill import Room, pack
from moyai.plan.price.instance import I64, Instance, Prices, counted, per_hour, worth
from moyai.plan.price.instance import Columns as Counts
from moyai.plan.price.solve import QUICK, Answer, solve
from moyai.plan.problem import LEAST_LEFT, run_cost
from moyai.plan.scale.auction import Round, Start, auction, free_units, started
from moyai.plan.scale.board import Board
from moyai.plan.scale.classes import NEVER, Classes, run_hours
from moyai.plan.scale.outlook import Outlook
from moyai.plan.scale.preempt import preemptions
from moyai.plan.scale.shapes import columns_of, rules_problem
from moyai.plan.scale.shares import Shares
from moyai.plan.scale.table import Scene, Table, table
from moyai.plan.types import Plan, Planned, Policy, QueuedJob, Snapshot, Waiting

AGAIN_US = 10 * 60 * 1_000_000
"""A job that waits of its own will, for a cheaper place or time, is looked at again after that long."""
MANY_STARTS = 200
"""With more placements than that in a plan, each tells of its own site alone."""


class ScalePlanner:
    """A `Planner` by classes and prices.

    The same calls give the same plans. What it keeps are prices, and what the last call showed.
    """

    def __init__(self) -> None:
        self._classes, self._board, self._shares = Classes(), Board(), Shares()
        self._prices: Prices | None = None
        self._priced_at = 0
        self._crowded = False  # jobs had to wait in the last plan

    def __call__(self, snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy, /) -> Plan:
        """See `Planner`."""
        columns = columns_of(snapshot.sites)
        problem = rules_problem(columns, snapshot, now, policy)
        self._board.sync(snapshot)
        self._classes.sync(queue, problem, columns)
        scene = Scene(self._classes, self._board, columns, problem)
        looked = table(scene, self._boost(scene))
        instance = looked.instance
        known = self._prices
        if known is not None and known.capacity.shape != instance.capacity.shape:
            known = None
        prices = known or Prices(np.zeros(instance.capacity.shape), np.zeros(instance.power.shape))
        # Outside of that time, also before it: a clock that was set back must not make old prices last.
        due = known is None or not 0 <= now - self._priced_at < policy.reprice_us
        # Where jobs had to wait a moment ago, or more is wanted than is free, some will: prices come first.
        crowded = self._crowded or int(instance.gpus.sum()) > int(free_units(scene).sum())
        found = None if due and crowded else auction(scene, looked, per_hour(instance, prices))
        answer: Answer | None = None
        if found is not None and not found.left.any():
            self._prices = None
        elif due or found is None:
            self._board.give_back()
            # Prices that must serve for a while aren't worth the last steps.
            answer = solve(instance, known, QUICK if policy.reprice_us else None)
            self._prices, self._priced_at = answer.prices, now
            found = auction(scene, looked, per_hour(instance, answer.prices), _wishes(instance, answer))
        self._crowded = bool(found.left.any())
        rest, value, bound = _certificate(looked, found, answer)
        outlook = _outlook(scene, looked, found, rest)
        return Plan(
            seq=snapshot.seq,
            now=now,
            placements=_written(scene, looked, found, outlook),
            preemptions=preemptions(scene, looked, found),
            waiting=_without_site(scene),
            value_micro_yen=round(value * MICRO_YEN),
            bound_micro_yen=round(bound * MICRO_YEN),
            certified=answer is not None or not found.left.any(),
            again_at=Instant(now + AGAIN_US) if self._crowded else Instant(0),
            later=outlook,
        )

    def _boost(self, scene: Scene) -> dict[TenantName, float]:
        policy = scene.problem.policy
        if not policy.share_milli:
            return {}
        total = sum(f.count * (f.accelerators or f.cores) for kinds in scene.columns.flavors for f in kinds)
        used: dict[TenantName, float] = {}
        for busy in self._board.held.values():
            units = (busy.need.accelerators or busy.need.cores) * len(busy.nodes)
            used[busy.tenant] = used.get(busy.tenant, 0.0) + units / max(total, 1)
        self._shares.pass_time(used, policy.share_milli, scene.now)
        return self._shares.boost()


def _wishes(instance: Instance, answer: Answer) -> I64:
    """(classes, columns) jobs that an answer starts in the first bucket."""
    sites, flavors, buckets = instance.shape
    wishes = np.zeros((instance.classes, sites * flavors), np.int64)
    first = answer.columns.option % buckets == 0
    wishes[answer.columns.cls[first], answer.columns.option[first] // buckets] = answer.columns.count[first]
    return wishes


def _certificate(looked: Table, found: Round, answer: Answer | None) -> tuple[Counts, float, float]:
    """(what is planned for later, value in yen, bound): what starts, and of the answer what still fits beside it.

    Both are told against leaving every job out. Without an answer, where a job waits, nothing is certified: both are
    0. Where none waits, the bound is each job at its best.
    """
    instance = looked.instance
    none = np.zeros(0, np.int64)
    starts = started(instance, found.starts)
    cls, column = np.nonzero(starts)
    begun = Counts(cls, column * instance.shape[2], starts[cls, column])
    if answer is None:
        if found.left.any() or not instance.classes:
            return Counts(none, none, none), 0.0, 0.0
        best = np.maximum(instance.value.max(1), 0).astype(np.float64)
        bound = float((instance.jobs * instance.gang) @ best)
        return Counts(none, none, none), min(worth(instance, begun), bound), bound
    kept = _rest(instance, answer.columns, begun)
    wish = Counts(
        np.concatenate([begun.cls, answer.columns.cls]),
        np.concatenate([begun.option, answer.columns.option]),
        np.concatenate([begun.count, kept]),
    )
    value = instance.value[wish.cls, wish.option].astype(np.float64)
    rank = np.where(np.arange(len(value)) < len(begun.cls), 1e12, value)
    room = Room(instance.limits.copy(), instance.jobs.copy())
    got = pack(instance, wish, rank, room)
    placed = room.columns()
    many = len(begun.cls)
    rest = Counts(answer.columns.cls, answer.columns.option, got[many:])
    return rest, min(worth(instance, placed), answer.bound), answer.bound


def _rest(instance: Instance, planned: Counts, begun: Counts) -> I64:
    """(planned,) what is left of a plan once jobs of it start: each from its own option, else from a late one."""
    options, buckets = instance.options, instance.shape[2]
    kept = planned.count.copy()
    if not len(kept) or not len(begun.cls):
        return kept
    key, mine = planned.cls * options + planned.option, begun.cls * options + begun.option
    order = np.argsort(key)
    at = order[np.minimum(np.searchsorted(key[order], mine), len(key) - 1)]
    took = np.where(key[at] == mine, np.minimum(begun.count, kept[at]), 0)
    kept[at] -= took
    more = counted(begun.cls, begun.count - took, instance.classes)
    for cls in np.flatnonzero(more):
        left = int(more[cls])
        others = np.flatnonzero(planned.cls == cls)
        for i in others[np.argsort(-(planned.option[others] % buckets), kind="stable")].tolist():
            took_here = min(left, int(kept[i]))
            kept[i] -= took_here
            left -= took_here
    return kept


def _outlook(scene: Scene, looked: Table, found: Round, rest: Counts) -> Outlook:
    classes, instance = scene.classes, looked.instance
    cls_of = np.full(len(classes.rows), -1, np.int64)
    cls_of[looked.rows] = np.arange(len(looked.rows))
    soonest = np.full(instance.classes, np.nan)
    some = rest.count > 0
    begin = looked.edges[rest.option[some] % instance.shape[2]]
    np.fmin.at(soonest, rest.cls[some], begin)
    latest = classes.latest[looked.rows]
    return Outlook(
        now=scene.now,
        columns=scene.columns,
        table=looked,
        kinds=dict(classes.of),
        cls_of=cls_of,
        shapes=tuple(classes.shapes[int(i)] for i in classes.shape[looked.rows]),
        run=tuple(run_hours(classes.run[looked.rows]).tolist()),
        latest=tuple(np.where(latest == NEVER, 1e9, (latest - scene.now) / MICROS_PER_HOUR).tolist()),
        bids=found.bids,
        best=found.best,
        free=free_units(scene),
        soonest=tuple(soonest.tolist()),
    )


def _written(scene: Scene, looked: Table, found: Round, outlook: Outlook) -> tuple[Planned, ...]:
    """The placements to issue now, in the order of the auction."""
    snapshot = scene.problem.snapshot
    flows = sorted(snapshot.flows, key=lambda f: (f.source, f.target, f.left_bytes, f.manifest or ""))
    lanes = Lanes(scene.now, flows, snapshot.links)
    rows: dict[tuple[int, int], tuple[Considered, ...]] = {}
    told = len(found.starts) <= MANY_STARTS
    planned: list[Planned] = []
    for start in found.starts:
        key = (start.cls, start.column)
        if key not in rows:
            rows[key] = outlook.rows(*key) if told else ()
        planned.append(_placement(scene, lanes, outlook, start, rows[key]))
    return tuple(planned)


def _placement(
    scene: Scene, lanes: Lanes, outlook: Outlook, start: Start, considered: tuple[Considered, ...]
) -> Planned:
    job, shape = start.job, outlook.shapes[start.cls]
    at = scene.columns.at(start.column)
    assert at is not None, "a start in a column without a flavor"
    profile, flavor = at[0].profile, at[1]
    power_w, moves = int(shape.power_w[start.column]), shape.moves[start.column]
    restore, covered_us = shape.restore[start.column]
    run_us = max(job.run_us - covered_us, job.run_us // LEAST_LEFT, 1)
    begin, egress, moved = scene.now, 0, 0
    if moves:
        arrival = lanes.arrival(moves, profile.name, scene.now)
        lanes.take(arrival, profile.name)
        begin, egress, moved = max(scene.now, arrival.at), arrival.egress_micro_yen, arrival.moved_bytes
    carbon, cost = run_cost(
        profile, flavor, job.order.nodes, power_w=power_w, run_us=run_us, policy=scene.problem.policy
    )
    end, energy = begin + run_us, energy_j(power_w, run_us)
    chosen = Reason(Code.CHOSEN, subject=profile.name)
    row = Considered(profile.name, flavor.name, True, chosen, begin, end, cost + egress, energy, carbon, moved)
    others = [r for r in considered if r.site != profile.name]
    placement = Placement(
        site=profile.name,
        flavor=flavor.name,
        nodes=start.nodes,
        start=Instant(begin),
        end=Instant(end),
        power_w=power_w,
        cost_micro_yen=cost + egress,
        energy_j=energy,
        carbon_mg=carbon,
        considered=tuple(sorted((row, *others), key=lambda r: r.site)) if others else (row,),
    )
    return Planned(job.job, placement, restore, covered_us)


def _without_site(scene: Scene) -> tuple[Waiting, ...]:
    """The jobs that no site can take, each with the rules that say so."""
    classes, found = scene.classes, list[Waiting]()
    if not classes.shapes:
        return ()
    nowhere = np.logical_not(classes.stack().feasible.any(1))
    many = len(classes.rows)
    waits = (classes.jobs[:many] > 0) & nowhere[classes.shape[:many]]
    for row in np.flatnonzero(waits):
        kind = classes.rows[int(row)]
        assert kind is not None, "a row with jobs has no class"
        rows = tuple(r for r in classes.shapes[int(classes.shape[row])].excluded if r is not None)
        found.extend(Waiting(job, Reason(Code.NO_SITE), rows) for job in kind.jobs)
    return tuple(found)
