"""Preemption: rarely, never of equals, within the budget, and only for a gain."""

from dataclasses import replace

from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.plan.place import plan
from moyai.plan.types import Plan, Policy
from plan.world import HOUR, MINUTE, NOW, busy, check, flavor, fleet, job, site

WHOLE = Need(4)
POLICY = Policy()


def full(
    *,
    priority: int = 0,
    unsaved: tuple[int, ...] = (5 * MINUTE, MINUTE),
    preemptible: bool = True,
    left: int = 9 * HOUR,
):
    """Two nodes, each held by an attempt, one with less unsaved work than the other."""
    held = [
        busy(f"v{i}", "a", [i], left, preemptible=preemptible, priority=priority, unsaved_us=u)
        for i, u in enumerate(unsaved)
    ]
    return fleet(site("a", 30, flavor(len(unsaved))), busy=held)


def made(snapshot, *queue, policy=POLICY) -> Plan:
    result = plan(snapshot, queue, NOW, policy)
    check(result, snapshot, queue, policy)
    return result


def urgent(name: str = "j", **more):
    return job(name, 30 * MINUTE, **({"need": WHOLE, "priority": 5, "deadline": Instant(NOW + HOUR)} | more))


def stopped(result: Plan) -> list[str]:
    return [str(s.attempt) for s in result.preemptions]


def test_the_one_with_the_least_unsaved_work_goes():
    result = made(full(), urgent())
    assert stopped(result) == ["v1.1"]
    assert result.preemptions[0].gains == "j"
    planned = result.placements[0]
    assert planned.issue_at == NOW + MINUTE  # the victim's grace
    assert planned.placement.nodes == (1,)


def test_the_lowest_priority_goes_first():
    snapshot = full()
    first = replace(snapshot.busy[0], priority=-5)
    assert stopped(made(replace(snapshot, busy=(first, snapshot.busy[1])), urgent())) == ["v0.1"]


def test_equals_and_what_declared_no_checkpoint_stay():
    assert stopped(made(full(priority=5), urgent())) == []
    assert stopped(made(full(preemptible=False), urgent())) == []


def test_not_where_it_can_run_in_time_anyway():
    assert stopped(made(full(left=10 * MINUTE), urgent())) == []
    snapshot = full()
    free = site("b", 90)
    assert stopped(made(replace(snapshot, sites=(*snapshot.sites, free)), urgent())) == []


def test_not_where_it_gains_less_than_the_factor():
    patient = urgent(deadline=None)
    assert stopped(made(full(left=HOUR), patient)) == []
    unsaved = (3 * HOUR, 3 * HOUR)
    one_hour_late = urgent(deadline=Instant(NOW + HOUR))
    snapshot = full(unsaved=unsaved, left=2 * HOUR)
    assert stopped(made(snapshot, one_hour_late)) == []
    assert stopped(made(snapshot, one_hour_late, policy=Policy(preempt_gain_milli=500))) == ["v0.1"]


def test_the_budget_is_kept():
    snapshot = full(unsaved=(MINUTE,) * 6)
    queue = [urgent(f"j{i}", at=i) for i in range(6)]
    assert len(stopped(made(snapshot, *queue))) == 4
    assert len(stopped(made(snapshot, *queue, policy=Policy(preemptions_per_cycle=2)))) == 2
    assert stopped(made(snapshot, *queue, policy=Policy(preemptions_per_cycle=0))) == []
    wide = urgent(nodes=5)
    assert stopped(made(snapshot, wide)) == []  # five of them would have to go
    assert len(stopped(made(snapshot, urgent(nodes=4)))) == 4


def test_no_more_than_needed():
    small = [
        busy("tiny", "a", [0], 9 * HOUR, Need(1), preemptible=True, unsaved_us=MINUTE),
        busy("big", "a", [1], 9 * HOUR, Need(4), preemptible=True, unsaved_us=2 * MINUTE),
        busy("rest", "a", [0], 9 * HOUR, Need(3)),
    ]
    snapshot = fleet(site("a", 30, flavor(2)), busy=small)
    assert stopped(made(snapshot, urgent())) == ["big.1"]


def test_what_is_lost_is_taken_from_the_value():
    with_loss = made(full(unsaved=(MINUTE, 9 * MINUTE)), urgent())
    with_more = made(full(unsaved=(2 * MINUTE, 9 * MINUTE)), urgent())
    assert with_more.value_micro_yen < with_loss.value_micro_yen
