"""The planner at scale: every plan holds the hard rules, and what it keeps between calls changes nothing that it shows."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.ids import AttemptId, TenantName
from moyai.model.reasons import Code
from moyai.model.units import MICRO_YEN, Instant
from moyai.plan.scale.board import Board
from moyai.plan.scale.classes import Classes
from moyai.plan.scale.planner import ScalePlanner
from moyai.plan.scale.shapes import columns_of, rules_problem
from moyai.plan.scale.shares import Shares
from moyai.plan.types import Busy, Policy
from plan.test_plan_random import fleets, queues
from plan.world import GB, HOUR, MINUTE, NOW, busy, check_holds, check_placement, dataset, flavor, fleet, job, row, site

POLICIES = st.sampled_from(
    [
        Policy(),
        Policy(horizon_us=HOUR),
        Policy(miss_milli=1_000, reprice_us=HOUR),
        Policy(preempt_gain_milli=0),
        Policy(share_milli={TenantName("acme"): 700}),
    ]
)


def checked(plan, snapshot, queue, policy):
    """`plan`, of which everything that must hold was found to hold."""
    jobs = {j.job: j for j in queue if j.not_before <= NOW}
    views = {s.profile.name: s for s in snapshot.sites}
    assert plan.value_micro_yen <= plan.bound_micro_yen
    assert len({p.job for p in plan.placements}) == len(plan.placements)
    for planned in plan.placements:
        assert planned.issue_at == 0
        check_placement(replace(planned, issue_at=NOW), jobs[planned.job], views, snapshot, policy)
    check_holds(plan, snapshot, jobs)
    placed = {p.job for p in plan.placements}
    listed = {w.job for w in plan.waiting}
    for name in jobs:
        if name not in placed and name not in listed:
            said = plan.later.of(name)
            assert [r.site for r in said.considered] == sorted(views)
            assert said.reason.code is Code.CAPACITY
    held = {b.attempt: b for b in snapshot.busy}
    assert len(plan.preemptions) <= policy.preemptions_per_cycle
    for stop in plan.preemptions:
        victim, gains = held[stop.attempt], jobs[stop.gains]
        assert victim.preemptible
        assert victim.priority < gains.order.priority + (gains.order.deadline is not None)
    return plan


@settings(max_examples=150, deadline=None)
@given(fleets(), queues(12), POLICIES)
def test_every_plan_holds_the_rules_and_its_bound(snapshot, queue, policy):
    checked(ScalePlanner()(snapshot, queue, NOW, policy), snapshot, queue, policy)


@settings(max_examples=60, deadline=None)
@given(fleets(), st.lists(queues(8), min_size=2, max_size=4), POLICIES)
def test_what_is_kept_shows_the_fleet_and_the_queue_of_now(snapshot, several, policy):
    """Whatever came before, the plan keeps the rules of the last call; without prices of before it is that of a fresh one."""
    known = ScalePlanner()
    for queue in several:
        known(snapshot, queue, NOW, policy)
        snapshot = replace(snapshot, busy=snapshot.busy[1:])
    last = checked(known(snapshot, several[0], NOW, policy), snapshot, several[0], policy)
    fresh = ScalePlanner()(snapshot, several[0], NOW, policy)
    if not policy.share_milli and last.certified and last.gap == 0 and fresh.gap == 0:
        assert last.value_micro_yen == fresh.value_micro_yen


@settings(max_examples=60, deadline=None)
@given(fleets(), st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5))
def test_a_board_kept_is_a_board_made_anew(snapshot, steps):
    board = Board()
    pool = list(snapshot.busy)
    for step in steps:
        chosen = tuple(pool[i % len(pool)] for i in dict.fromkeys(i % len(pool) for i in step)) if pool else ()
        now = replace(snapshot, busy=chosen)
        board.sync(now)
        fresh = Board()
        fresh.sync(now)
        assert {k: p.free for k, p in board.pools.items()} == {k: p.free for k, p in fresh.pools.items()}
        assert {k: p.by_free for k, p in board.pools.items()} == {k: p.by_free for k, p in fresh.pools.items()}
        assert board.spare_w == fresh.spare_w
        for key, held in board.pools.items():
            size = (1, 0, 0)
            if held.room(size):
                assert len(board.take(key, size, 1, power_w=0, end=0)) == 1


@settings(max_examples=60, deadline=None)
@given(fleets(), st.lists(queues(6), min_size=1, max_size=4))
def test_classes_kept_are_classes_made_anew(snapshot, several):
    columns = columns_of(snapshot.sites)
    problem = rules_problem(columns, snapshot, NOW, Policy())
    kept = Classes()
    for queue in several:
        kept.sync(queue, problem, columns)
        fresh = Classes()
        fresh.sync(queue, problem, columns)
        assert set(kept.of) == {j.job for j in queue if j.not_before <= NOW}
        assert {k: list(kind.jobs) for k, kind in kept.kinds.items()} == {
            k: list(kind.jobs) for k, kind in fresh.kinds.items()
        }
        for key, kind in kept.kinds.items():
            other = fresh.kinds[key]
            for name in ("run", "latest", "weight", "units", "jobs"):
                assert getattr(kept, name)[kind.row] == getattr(fresh, name)[other.row]
            mine, theirs = kept.shapes[kept.shape[kind.row]], fresh.shapes[fresh.shape[other.row]]
            for name in ("feasible", "power_w", "nodes", "delay", "egress", "covered"):
                assert (getattr(mine, name) == getattr(theirs, name)).all()
            assert (mine.units, mine.moves, mine.restore) == (theirs.units, theirs.moves, theirs.restore)
            assert mine.excluded == theirs.excluded
        assert int(kept.jobs.sum()) == len(kept.of)


def made(snapshot, *queue, policy=None):
    return ScalePlanner()(snapshot, queue, NOW, policy or Policy())


def test_the_cheaper_site_wins_and_the_rows_say_by_how_much():
    plan = made(fleet(site("a", 40), site("b", 20)), job("j"))
    assert plan.placements[0].placement.site == "b"
    assert row(plan.placements[0].placement.considered, "a").reason.code is Code.DEARER
    assert plan.gap == 0


def test_nodes_are_kept_for_a_gang_that_waits():
    """Two nodes are free for an hour in which the gang of three waits for the third: only what ends by then starts."""
    held = [busy("v", "a", [2], HOUR)]
    gang = job("gang", 8 * HOUR, nodes=3, need=replace(held[0].need))
    short = job("short", 30 * MINUTE, need=held[0].need, at=1)
    long = job("long", 20 * HOUR, need=held[0].need, at=2)
    plan = made(fleet(site("a", 30, flavor(3)), busy=held), gang, short, long)
    assert {p.job for p in plan.placements} == {"short"}
    assert plan.later.of(gang.job).reason.found > 0


def test_a_deadline_goes_before_an_older_job():
    late = job("late", HOUR, need=busy("x", "a", [0], 1).need, at=5, deadline=Instant(NOW + HOUR + MINUTE))
    early = job("early", HOUR, need=late.order.need)
    plan = made(fleet(site("a", 30, flavor(1))), early, late, policy=Policy(miss_milli=1_000))
    assert [p.job for p in plan.placements] == ["late"]


def test_a_job_whose_deadline_is_near_stops_one_that_can_wait():
    held = [busy("v", "a", [0], 9 * HOUR, preemptible=True, unsaved_us=MINUTE)]
    urgent = job("urgent", HOUR, need=held[0].need, deadline=Instant(NOW + HOUR + 30 * MINUTE))
    patient = replace(urgent, order=replace(urgent.order, deadline=None))
    snapshot = fleet(site("a", 30, flavor(1)), busy=held)
    policy = Policy(miss_milli=1_000)
    assert [s.attempt for s in made(snapshot, urgent, policy=policy).preemptions] == ["v.1"]
    assert made(snapshot, patient, policy=policy).preemptions == ()
    stopping = replace(held[0], preemptible=False, end=Instant(NOW + MINUTE))  # one that was asked to stop is enough
    two = fleet(site("a", 30, flavor(2)), busy=[stopping, busy("w", "a", [1], 9 * HOUR, preemptible=True)])
    assert made(two, urgent, policy=policy).preemptions == ()


def test_data_that_must_move_delays_the_start_and_costs():
    far = dataset("d", 100 * GB, "b")
    plan = made(fleet(site("a", 10), site("b", 40), yen_per_gb=1), job("j", data=(far,)))
    assert plan.placements[0].placement.site == "b"
    moved = row(plan.placements[0].placement.considered, "a")
    assert moved.moved_bytes == 100 * GB
    assert moved.start > NOW


def test_a_job_without_a_site_is_told_every_rule():
    plan = made(fleet(site("a"), site("b")), job("j", residency=("US",)))
    assert plan.placements == ()
    assert {r.reason.code for r in plan.waiting[0].considered} == {Code.RESIDENCY}


def test_a_job_that_waits_for_a_cheaper_place_says_so():
    """The cheap site is full for half an hour more; the dear one is free, and dearer by more than the wait."""
    held = [busy("v", "b", [0], 20 * MINUTE)]
    waits = job("j", 20 * HOUR, need=held[0].need)
    plan = made(fleet(site("a", 900, flavor(1)), site("b", 1, flavor(1)), busy=held), waits)
    assert plan.placements == ()
    rows = plan.later.of(waits.job).considered
    assert row(rows, "a").reason.code is Code.DEARER
    assert row(rows, "a").reason.found > 0
    assert (row(rows, "b").reason.code, row(rows, "b").reason.found // MINUTE) == (Code.BUSY, 20)
    assert NOW < plan.due <= NOW + HOUR


@settings(max_examples=60, deadline=None)
@given(fleets(), queues(6))
def test_the_reason_shown_is_what_would_change_the_choice(snapshot, queue):
    """A site that is dearer by so much is taken once its price falls by more; one that is busy, once it is free."""
    policy = Policy(preemptions_per_cycle=0)
    for one in queue[:3]:
        alone = (replace(one, data=(), resumes=(), not_before=Instant(0), order=replace(one.order, deadline=None)),)
        plan = ScalePlanner()(snapshot, alone, NOW, policy)
        for planned in plan.placements:
            for r in planned.placement.considered:
                if r.reason.code is Code.BUSY:
                    freed = replace(snapshot, busy=tuple(b for b in snapshot.busy if b.site != r.site))
                    again = ScalePlanner()(freed, alone, NOW, policy)
                    rows = again.placements[0].placement.considered
                    assert row(rows, r.site).reason.code is not Code.BUSY
                if r.reason.code is Code.DEARER:
                    kind = next(s for s in snapshot.sites if s.profile.name == r.site)
                    free = replace(
                        kind,
                        profile=replace(
                            kind.profile,
                            price_micro_yen_per_kwh=-(10**12),
                            flavors=tuple(replace(f, price_micro_yen_per_hour=-(10**12)) for f in kind.profile.flavors),
                        ),
                    )
                    sites = tuple(free if s is kind else s for s in snapshot.sites)
                    again = ScalePlanner()(replace(snapshot, sites=sites), alone, NOW, policy)
                    if again.placements:
                        assert again.placements[0].placement.site == r.site
                    else:  # it waits until there is room there
                        assert row(again.later.of(one.job).considered, r.site).reason.code is Code.BUSY


def test_who_lent_its_share_goes_first():
    acme, zeta = TenantName("acme"), TenantName("zeta")
    shares, half = Shares(), {acme: 500, zeta: 500}
    shares.pass_time({}, half, NOW)
    shares.pass_time({acme: 1.0}, half, NOW + 12 * HOUR)
    boost = shares.boost()
    assert boost[zeta] > 1 > boost[acme]
    shares.pass_time({acme: 0.5, zeta: 0.5}, half, NOW + 500 * HOUR)
    assert all(0.99 < b < 1.01 for b in shares.boost().values())


def test_a_long_queue_of_equal_jobs_fills_what_is_free_and_no_more():
    queue = tuple(job(f"j{i}", HOUR + i, at=i) for i in range(300))
    snapshot = fleet(site("a", 30, flavor(10)), site("b", 10, flavor(10)))
    policy = Policy(value_micro_yen_per_node_hour=1_000 * MICRO_YEN)
    plan = checked(ScalePlanner()(snapshot, queue, NOW, policy), snapshot, queue, policy)
    assert len(plan.placements) == 80
    assert plan.certified
    assert plan.gap < 0.05


def test_prices_don_t_outlive_a_clock_that_is_set_back():
    queue = tuple(job(f"j{i}", HOUR, at=i) for i in range(30))
    snapshot, planner = fleet(site("a", 30, flavor(2))), ScalePlanner()
    for now in (NOW + 5 * HOUR, NOW):
        plan = planner(snapshot, queue, Instant(now), Policy())
        assert plan.later.of(queue[-1].job) is not None
        assert plan.certified


def test_an_attempt_that_is_unknown_or_gone_is_no_matter():
    planner = ScalePlanner()
    strange = Busy(
        AttemptId("s.1"), job("s").job, TenantName("t"), site("zz").profile.name, flavor().name, (99,),
        job("s").order.need, 10, Instant(NOW + HOUR), 0, False, Instant(0),
    )  # fmt: skip
    snapshot = fleet(site("a"), busy=[strange])
    assert planner(snapshot, (job("j"),), NOW, Policy()).placements
    assert planner(fleet(site("a")), (job("k"),), NOW, Policy()).placements
