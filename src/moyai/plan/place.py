"""`plan(snapshot, queue, now, policy) -> Plan`: the one entry of this room, called alike by control and by the twin.

`LivePlanner` is what runs in production: `plan` while the queue is short, classes and prices (`plan.scale`) beyond.

The form for short queues: a greedy in the queue's order with backfill; where the sum of what every job could have at
best isn't reached, deadlines, preemption, a bound by prices, and for small instances an exact solver.
"""

from collections.abc import Sequence
from dataclasses import replace

from moyai.model.events import Placement
from moyai.model.reasons import Considered
from moyai.model.units import MICRO_YEN, Instant
from moyai.plan.explain import Offer, rank, rows
from moyai.plan.greedy import Draft, Placed, greedy, with_deadlines
from moyai.plan.problem import Problem, build
from moyai.plan.timeline import Timeline
from moyai.plan.types import Plan, Planned, Planner, Policy, Preemption, QueuedJob, Snapshot, Waiting


def plan(snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy) -> Plan:
    """Where and when each job of the queue runs, and why; with a bound that no plan of these options exceeds.

    The bound takes the attempts that run as given, less those that this plan stops. All figures are integers, and the
    order of the arguments' parts makes no difference.
    """
    problem = build(snapshot, queue, now, policy)
    draft = greedy(problem, Timeline(problem), problem.queue)
    bound = sum(cls.ideal * len(cls.jobs) for cls in problem.classes)
    if draft.value >= bound:
        return _written(problem, draft, (), 0, bound)
    draft = with_deadlines(problem, draft, Timeline(problem))
    stops: tuple[Preemption, ...] = ()
    lost, start = 0, Timeline(problem)
    if policy.preemptions_per_cycle > 0 and any(b.preemptible for b in snapshot.busy):
        from moyai.plan.preempt import with_preemptions

        draft, stops, lost, start = with_preemptions(problem, draft)
    from moyai.plan.bound import alone

    bound = min(bound, alone(problem, start))
    if not _proven(draft.value, bound, policy):
        from moyai.plan.bound import priced

        bound = min(bound, priced(problem, draft, start, bound))
    if not _proven(draft.value, bound, policy) and policy.exact_below_cells > 0:
        from moyai.plan.exact import improved

        draft, bound = improved(problem, draft, start, bound)
    return _written(problem, draft, stops, lost, bound)


class LivePlanner:
    """The `Planner` in production. What only long queues need is loaded with the first of them."""

    def __init__(self) -> None:
        self._scale: Planner | None = None

    def __call__(self, snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy, /) -> Plan:
        """See `Planner`."""
        if len(queue) < policy.scale_from:
            return plan(snapshot, queue, now, policy)
        if self._scale is None:
            from moyai.plan.scale.planner import ScalePlanner

            self._scale = ScalePlanner()
        return self._scale(snapshot, queue, now, policy)


def feasible_rows(snapshot: Snapshot, job: QueuedJob, now: Instant, policy: Policy) -> tuple[Considered, ...]:
    """A row for every site as if the fleet were empty: for a dry run. The best one is marked as chosen."""
    problem = build(replace(snapshot, busy=()), (job,), now, policy)
    cls, line = problem.classes[0], Timeline(problem)
    offers: list[Offer] = []
    for option in cls.options:
        quote = line.quote(cls, option)
        if quote is not None:
            offers.append((option, quote))
    best = max(offers, key=lambda o: rank(o, problem.last_start), default=None)
    return rows(cls, offers, best, problem.last_start)


def _proven(value: int, bound: int, policy: Policy) -> bool:
    """Whether a plan is within the policy's gap of the bound."""
    return (bound - value) * 1_000 <= policy.exact_gap_milli * max(abs(bound), MICRO_YEN)


def _written(problem: Problem, draft: Draft, stops: tuple[Preemption, ...], lost: int, bound: int) -> Plan:
    where = {job.job: i for i, (job, _) in enumerate(problem.queue)}
    value = draft.value - lost
    assert value <= bound, "a plan is worth more than its bound"
    return Plan(
        seq=problem.snapshot.seq,
        now=Instant(problem.now),
        placements=tuple(_planned(p) for p in sorted(draft.placed, key=lambda p: where[p.job.job])),
        preemptions=stops,
        waiting=tuple(Waiting(w.job.job, w.reason, w.rows) for w in sorted(draft.left, key=lambda w: where[w.job.job])),
        value_micro_yen=value,
        bound_micro_yen=bound,
    )


def _planned(placed: Placed) -> Planned:
    option, quote = placed.option, placed.quote
    placement = Placement(
        site=option.site,
        flavor=option.flavor.name,
        nodes=placed.nodes,
        start=Instant(quote.start),
        end=Instant(quote.end),
        power_w=option.power_w,
        cost_micro_yen=option.run_micro_yen + quote.egress_micro_yen,
        energy_j=option.energy_j,
        carbon_mg=option.carbon_mg,
        considered=placed.rows,
    )
    return Planned(placed.job.job, placement, option.restore, option.covered_us, Instant(quote.issue))
