"""What a person sees of a plan: where a job goes, when, and why."""

import subprocess
import sys
from dataclasses import replace

import pytest

from moyai.model.ids import SiteName, TenantName
from moyai.model.reasons import Code
from moyai.model.units import MICRO_YEN, Instant
from moyai.model.workload import Need
from moyai.plan.place import feasible_rows, plan
from moyai.plan.types import Flow, Policy
from plan.world import (
    GB,
    GIB,
    HOUR,
    MINUTE,
    NOW,
    busy,
    check,
    checkpoint,
    dataset,
    flavor,
    fleet,
    job,
    row,
    site,
    where,
    worth,
)

POLICY = Policy()
GREEDY = Policy(exact_below_cells=0)
WHOLE = Need(4)


def made(snapshot, *queue, policy=POLICY):
    result = plan(snapshot, queue, NOW, policy)
    check(result, snapshot, queue, policy)
    if not result.waiting and not result.preemptions:
        assert abs(worth(result, queue, policy) - result.value_micro_yen) <= 10 * len(queue)
    return result


def test_alone_it_goes_to_the_cheapest_site_at_once_and_the_bound_is_reached():
    result = made(fleet(site("a", 40), site("b", 20), site("c", 30)), job("j"))
    assert where(result) == {"j": ("b", 0, HOUR)}
    assert result.gap == 0
    placement = result.placements[0].placement
    assert placement.power_w == 25  # a quarter of 100 W above idle
    assert placement.energy_j == 90_000
    assert placement.cost_micro_yen == 500_000  # 25 Wh at 20 yen per kWh
    rows = placement.considered
    assert row(rows, "a").reason.code is Code.DEARER
    assert row(rows, "a").reason.found == 500_000
    assert row(rows, "c").reason.found == 250_000


def test_planning_one_uncontended_job_loads_no_heavy_library():
    script = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from plan.world import *\n"
        "from moyai.plan.place import plan\n"
        "assert plan(fleet(site('a'), site('b')), (job('j'),), NOW, Policy()).placements\n"
        "assert not {'numpy', 'highspy', 'pydantic'} & set(sys.modules), 'heavy'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_pue_carbon_and_node_price_count():
    dear = site("a", 30, flavor(price_micro_yen_per_hour=MICRO_YEN))
    assert where(made(fleet(dear, site("b", 60)), job("j")))["j"][0] == "b"
    assert where(made(fleet(site("a", 30, pue=2_000), site("b", 40)), job("j")))["j"][0] == "b"
    dirty = site("a", 30)
    dirty = replace(dirty, profile=replace(dirty.profile, carbon_mg_per_kwh=2_000_000))
    assert where(made(fleet(dirty, site("b", 40)), job("j")))["j"][0] == "b"


def test_a_deadline_beats_the_price():
    snapshot = fleet(site("cheap", 1, flavor(1)), site("dear", 90), busy=[busy("x", "cheap", [0], 30 * MINUTE)])
    patient = made(snapshot, job("j", need=WHOLE), policy=Policy(wait_micro_yen_per_hour=0))
    assert where(patient)["j"] == ("cheap", 30 * MINUTE, 90 * MINUTE)
    pressed = made(snapshot, job("j", need=WHOLE, deadline=Instant(NOW + HOUR)))
    assert where(pressed)["j"] == ("dear", 0, HOUR)
    reason = row(pressed.placements[0].placement.considered, "cheap").reason
    assert reason.code is Code.LATE
    assert reason.found == 30 * MINUTE


def test_it_waits_for_a_cheaper_site_only_where_that_pays():
    snapshot = fleet(site("cheap", 1, flavor(1)), site("dear", 500), busy=[busy("x", "cheap", [0], HOUR)])
    assert where(made(snapshot, job("j", need=WHOLE)))["j"] == ("cheap", HOUR, 2 * HOUR)
    hurried = made(snapshot, job("j", need=WHOLE), policy=Policy(wait_micro_yen_per_hour=100 * MICRO_YEN))
    assert where(hurried)["j"][0] == "dear"
    assert row(hurried.placements[0].placement.considered, "cheap").reason == row(
        hurried.placements[0].placement.considered, "cheap"
    ).reason.__class__(Code.BUSY, found=HOUR)


def test_a_job_that_must_be_late_is_planned_and_says_by_how_much():
    result = made(fleet(site("a"), site("b", 40)), job("j", deadline=Instant(NOW + 20 * MINUTE)))
    placement = result.placements[0].placement
    assert placement.end - (NOW + 20 * MINUTE) == 40 * MINUTE
    assert result.gap == 0


def test_a_deadline_goes_before_an_equal_that_has_none_but_not_before_a_higher_priority():
    snapshot = fleet(site("a", 30, flavor(1)))
    urgent = job("urgent", MINUTE * 30, at=1, need=WHOLE, deadline=Instant(NOW + 30 * MINUTE))
    result = made(snapshot, job("first", need=WHOLE), urgent, policy=GREEDY)
    assert where(result) == {"urgent": ("a", 0, 30 * MINUTE), "first": ("a", 30 * MINUTE, 90 * MINUTE)}
    result = made(snapshot, job("first", need=WHOLE, priority=5), urgent, policy=GREEDY)
    assert where(result)["first"] == ("a", 0, HOUR)


def test_data_draws_the_job_to_it():
    data = dataset("corpus", 100 * GB, "far")
    snapshot = fleet(site("far", 60), site("near", 20))
    result = made(snapshot, job("j", data=(data,)))
    assert where(result)["j"] == ("far", 0, HOUR)
    other = row(result.placements[0].placement.considered, "near")
    assert other.moved_bytes == 100 * GB
    assert other.start == NOW + 1_000_001_000  # 100 GB at 100 MB/s and 1 ms
    small = made(snapshot, job("j", data=(dataset("corpus", GB // 1_000, "far"),)))
    assert where(small)["j"][0] == "near"
    assert small.placements[0].issue_at == NOW
    assert small.placements[0].placement.start == NOW + 11_000
    assert small.gap == 0


def test_moves_share_a_link_with_each_other_and_with_what_is_under_way():
    here, there = site("a", 30, flavor(8)), site("b", 30, flavor(8))
    only_b = ("workload", ("JP-13",))
    there = replace(there, profile=replace(there.profile, jurisdiction="JP-13"))
    snapshot = replace(fleet(here, there), flows=(Flow(SiteName("a"), SiteName("b"), GB),))
    jobs = [job(n, at=i, data=(dataset(n, GB, "a"),), restricted=(only_b,)) for i, n in enumerate(("one", "two"))]
    spots = where(made(snapshot, *jobs))
    assert spots["one"][1] == 20_002_000
    assert spots["two"][1] == 30_003_000


def test_what_is_under_way_already_costs_nothing_more():
    data = dataset("corpus", GB, "a")
    snapshot = fleet(site("a", 30, flavor(1)), site("b", 30), busy=[busy("x", "a", [0], HOUR)])
    flow = Flow(SiteName("a"), SiteName("b"), GB // 2, data.manifest)
    result = made(replace(snapshot, flows=(flow,)), job("j", data=(data,)))
    assert where(result)["j"][:2] == ("b", 5_001_000)
    assert row(result.placements[0].placement.considered, "b").moved_bytes == 0


def test_jobs_that_want_the_same_data_move_it_once():
    data = dataset("corpus", GB, "a")
    snapshot = fleet(site("a", 30, flavor(1)), site("b", 30, flavor(4)), busy=[busy("x", "a", [0], 9 * HOUR)])
    result = made(snapshot, *(job(f"j{i}", at=i, data=(data,)) for i in range(4)))
    assert [p.placement.start - NOW for p in result.placements] == [10_001_000] * 4
    costs = [p.placement.cost_micro_yen for p in result.placements]
    assert costs == [costs[1] + MICRO_YEN, *[costs[1]] * 3]
    assert result.gap == 0


def test_it_resumes_from_the_best_checkpoint_and_runs_shorter():
    snapshot = fleet(site("a"), site("b", 31))
    saved = ((checkpoint("old", GB, "a"), 20 * MINUTE), (checkpoint("new", GB, "b"), 50 * MINUTE))
    result = made(snapshot, job("j", resumes=saved))
    planned = result.placements[0]
    assert where(result)["j"] == ("b", 0, 10 * MINUTE)
    assert (planned.restore, planned.covered_us) == ("new", 50 * MINUTE)
    other = row(planned.placement.considered, "a")
    assert other.moved_bytes == GB  # it would fetch the new one rather than take the old one that is there
    assert other.end == NOW + 10_001_000 + 10 * MINUTE


def test_a_checkpoint_is_moved_where_that_beats_starting_over():
    gone = site("b", 30, lost=True)
    here = site("a", 30, flavor(price_micro_yen_per_hour=MICRO_YEN))
    light = ((checkpoint("c", GB, "c"), 50 * MINUTE),)
    snapshot = fleet(here, gone, site("c", 30, draining=True))
    assert made(snapshot, job("j", resumes=light)).placements[0].restore == "c"
    heavy = ((checkpoint("c", 50_000 * GB, "c"), 50 * MINUTE),)
    planned = made(snapshot, job("j", resumes=heavy)).placements[0]
    assert (planned.restore, planned.covered_us) == (None, 0)
    cut_off = fleet(here, site("c", 30, draining=True), links=[])
    assert made(cut_off, job("j", resumes=light)).placements[0].restore is None


def test_backfill_never_delays_a_reservation():
    snapshot = fleet(site("a", 30, flavor(2)), busy=[busy("x", "a", [0], HOUR)])
    wide = job("wide", need=WHOLE, nodes=2)
    short = job("short", HOUR, at=1, need=WHOLE)
    long = job("long", HOUR + 1, at=2, need=WHOLE)
    alone = where(made(snapshot, wide))["wide"]
    assert alone == ("a", HOUR, 2 * HOUR)
    for policy in (POLICY, GREEDY):
        spots = where(made(snapshot, wide, short, long, policy=policy))
        assert spots["wide"] == alone
        assert spots["short"] == ("a", 0, HOUR)
        assert spots["long"] == ("a", 2 * HOUR, 3 * HOUR + 1)
    waiting = next(p for p in made(snapshot, wide).placements if p.job == "wide")
    chosen = row(waiting.placement.considered, "a").reason
    assert (chosen.code, chosen.detail, chosen.found) == (Code.CHOSEN, "x", HOUR)


def test_short_jobs_do_not_starve_a_wide_one_even_where_they_gain_more():
    snapshot = fleet(site("a", 30, flavor(2)), busy=[busy("x", "a", [0], MINUTE)])
    wide = job("wide", 10 * HOUR, need=WHOLE, nodes=2)
    short = [job(f"s{i}", 2 * MINUTE, at=1 + i, need=WHOLE) for i in range(4)]
    assert where(made(snapshot, wide, *short))["wide"][1] == MINUTE


def test_priority_then_time_then_name():
    snapshot = fleet(site("a", 30, flavor(1)))
    queue = [
        job("b", need=WHOLE, at=5),
        job("a", need=WHOLE, at=5),
        job("old", need=WHOLE, at=1),
        job("low", need=WHOLE, priority=-1),
        job("high", need=WHOLE, at=9, priority=1),
    ]
    result = made(snapshot, *queue, policy=GREEDY)
    assert sorted(where(result), key=lambda j: where(result)[j][1]) == ["high", "old", "a", "b", "low"]


def test_a_job_is_not_planned_before_it_is_due():
    result = made(fleet(site("a")), job("j", not_before=HOUR))
    assert (result.placements[0].issue_at, where(result)["j"][1]) == (NOW + HOUR, HOUR)
    assert result.gap == 0


def test_the_power_cap_counts_idle_nodes_and_the_pue():
    two = flavor(2, idle_w=100, peak_w=300)
    capped = site("a", 30, two, cap_w=480, pue=1_200)  # idle 240 W, a whole node 240 W more
    spots = where(made(fleet(capped), job("one", need=WHOLE), job("two", need=WHOLE, at=1)))
    assert spots == {"one": ("a", 0, HOUR), "two": ("a", HOUR, 2 * HOUR)}
    capped = site("a", 30, two, cap_w=479, pue=1_200)
    result = made(fleet(capped), job("one", need=WHOLE))
    reason = result.waiting[0].considered[0].reason
    assert (reason.code, reason.wanted, reason.found) == (Code.POWER_CAP, 480, 479)
    assert result.waiting[0].reason.code is Code.NO_SITE


def test_power_that_runs_now_counts_until_it_ends():
    capped = site("a", 30, flavor(2), cap_w=200)  # idle 100 W
    snapshot = fleet(capped, busy=[busy("x", "a", [0], HOUR, power_w=60)])
    assert where(made(snapshot, job("j", need=WHOLE)))["j"][1] == HOUR
    assert where(made(snapshot, job("j", need=Need(1))))["j"][1] == 0


def test_ranks_fill_the_fullest_nodes_that_fit():
    snapshot = fleet(
        site("a", 30, flavor(3)), busy=[busy("x", "a", [1], HOUR, Need(2)), busy("y", "a", [2], HOUR, Need(3))]
    )
    assert made(snapshot, job("j", need=Need(1))).placements[0].placement.nodes == (2,)
    assert made(snapshot, job("j", need=Need(2))).placements[0].placement.nodes == (1,)
    assert made(snapshot, job("j", need=Need(3))).placements[0].placement.nodes == (0,)
    assert sorted(made(snapshot, job("j", need=Need(1), nodes=4)).placements[0].placement.nodes) == [0, 1, 1, 2]


def test_memory_and_accelerators_limit_a_node_as_cores_do():
    gpu = flavor(1, 8, "gpu", accelerator="H100", accelerators=2)
    snapshot = fleet(site("a", 30, gpu))
    for need in (Need(1, accelerator="H100", accelerators=1), Need(1, 8 * GIB), Need(4)):
        queue = [job(f"j{i}", need=need, at=i) for i in range(3)]
        assert [s[1] for s in where(made(snapshot, *queue)).values()] == [0, 0, HOUR]


def test_beyond_the_horizon_a_job_waits_and_says_until_when():
    snapshot = fleet(site("a", 30, flavor(1)), busy=[busy("x", "a", [0], 3 * HOUR)])
    result = made(snapshot, job("j", need=WHOLE), policy=Policy(horizon_us=2 * HOUR))
    assert result.waiting[0].reason.code is Code.CAPACITY
    assert result.waiting[0].reason.found == 3 * HOUR
    assert result.waiting[0].considered[0].reason.code is Code.BUSY


def test_a_site_that_failed_to_launch_it_is_avoided_while_another_will_do():
    snapshot = fleet(site("a", 10), site("b", 90))
    avoided = job("j", avoid=(SiteName("a"),))
    result = made(snapshot, avoided)
    assert where(result)["j"][0] == "b"
    assert row(result.placements[0].placement.considered, "a").reason.code is Code.AVOIDED
    assert where(made(fleet(site("a", 10)), avoided))["j"][0] == "a"


def test_tenants_weigh_and_a_queue_of_nothing_is_a_plan():
    policy = Policy(tenant_weight_milli={TenantName("big"): 3_000})
    snapshot = fleet(site("cheap", 1, flavor(1)), site("dear", 500), busy=[busy("x", "cheap", [0], HOUR)])
    assert where(made(snapshot, job("j", need=WHOLE), policy=policy))["j"][0] == "cheap"
    assert where(made(snapshot, job("j", need=WHOLE, tenant="big"), policy=policy))["j"][0] == "dear"
    empty = made(snapshot)
    assert (empty.placements, empty.value_micro_yen, empty.bound_micro_yen, empty.gap) == ((), 0, 0, 0)


def test_a_thousand_equal_jobs_are_one_class_and_proven_near_best():
    snapshot = fleet(site("a", 20, flavor(4)), site("b", 25, flavor(4)), site("c", 30, flavor(4)))
    queue = [job(f"j{i:04}", 10 * MINUTE, at=i) for i in range(1_000)]
    result = made(snapshot, *queue)
    assert len(result.placements) == 1_000
    assert result.gap < 0.001


def test_a_dry_run_ignores_what_runs_and_tells_every_site():
    snapshot = fleet(
        site("a", 10, flavor(1)), site("b", 30), site("c", 1, jurisdiction="US"), busy=[busy("x", "a", [0], 99 * HOUR)]
    )
    rows = feasible_rows(snapshot, job("j", need=WHOLE, residency=("JP",)), NOW, POLICY)
    assert [(r.site, r.feasible, r.reason.code) for r in rows] == [
        ("a", True, Code.CHOSEN),
        ("b", True, Code.DEARER),
        ("c", False, Code.RESIDENCY),
    ]
    assert rows[0].start == NOW
    nowhere = feasible_rows(snapshot, job("j", residency=("FR",)), NOW, POLICY)
    assert {r.reason.code for r in nowhere} == {Code.RESIDENCY}


@pytest.mark.parametrize("gone", [{"joined": False}, {"lost": True}, {"draining": True}])
def test_a_site_that_takes_no_work_gets_none(gone):
    assert where(made(fleet(site("a", 1, **gone), site("b", 90)), job("j")))["j"][0] == "b"
