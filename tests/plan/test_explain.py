"""The reason that is shown is the one that counts: lifted, the decision changes, or the next reason shows."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from moyai.model.ids import FlavorName, JobId, SiteName
from moyai.model.reasons import Code, Considered
from moyai.model.site import Flavor, Link, link_key
from moyai.model.units import MICRO_YEN, Instant
from moyai.model.workload import Need
from moyai.plan.place import plan
from moyai.plan.types import Busy, Plan, Policy, QueuedJob, SiteView, Snapshot
from plan.test_plan_random import fleets, queues
from plan.world import GB, HOUR, MINUTE, NOW, busy, dataset, flavor, fleet, job, row, site

POLICY = Policy(exact_below_cells=0, preemptions_per_cycle=0)
DEAR_NODES = 10**12  # micro-yen an hour: room to make a node cheaper


def rows_of(result: Plan) -> tuple[Considered, ...]:
    """The rows of the only job."""
    (said,) = (*(p.placement for p in result.placements), *result.waiting)
    return said.considered


def profiled(snapshot: Snapshot, name: str, **changes: object) -> Snapshot:
    """The fleet with another profile of one site."""
    return sited(snapshot, name, profile=replace(view_of(snapshot, name).profile, **changes))  # type: ignore[arg-type]


def sited(snapshot: Snapshot, name: str, **changes: object) -> Snapshot:
    """The fleet with one site changed."""
    sites = tuple(replace(s, **changes) if s.profile.name == name else s for s in snapshot.sites)  # type: ignore[arg-type]
    return replace(snapshot, sites=sites)


def view_of(snapshot: Snapshot, name: str) -> SiteView:
    """A site."""
    return next(s for s in snapshot.sites if s.profile.name == name)


def freed(snapshot: Snapshot, *names: str) -> Snapshot:
    """The fleet without what runs at some sites."""
    return replace(snapshot, busy=tuple(b for b in snapshot.busy if b.site not in names))


def lifted(snapshot: Snapshot, it: QueuedJob, r: Considered) -> tuple[Snapshot, QueuedJob]:
    """The same without what the reason of an excluded site says, and with nothing else changed."""
    reason, profile = r.reason, view_of(snapshot, r.site).profile
    match reason.code:
        case Code.RESIDENCY:
            order = replace(it.order, residency=()) if reason.subject == "workload" else it.order
            data = tuple(replace(d, residency=()) if d.name == reason.subject else d for d in it.data)
            kept = tuple(x for x in it.restricted if x[0] != reason.subject)
            return snapshot, replace(it, order=order, data=data, restricted=kept)
        case Code.PURPOSE:
            return snapshot, replace(it, data=tuple(replace(d, purposes=()) for d in it.data))
        case Code.SITE_NOT_JOINED:
            return sited(snapshot, r.site, joined=True), it
        case Code.SITE_LOST:
            return sited(snapshot, r.site, lost=False), it
        case Code.SITE_DRAINING:
            return sited(snapshot, r.site, draining=False), it
        case Code.ENGINE_LACKS:
            had = view_of(snapshot, r.site).capabilities
            return sited(snapshot, r.site, capabilities=(*had, *reason.subject.split(", "))), it
        case Code.NO_FLAVOR:
            need = it.order.need
            new = Flavor(FlavorName("new"), 1, need.cores, need.memory_bytes, need.accelerator, need.accelerators)
            return profiled(snapshot, r.site, flavors=(*profile.flavors, new)), it
        case Code.TOO_FEW_NODES:
            return with_ranks(snapshot, it, r, reason.wanted - reason.found), it
        case Code.POWER_CAP:
            return profiled(snapshot, r.site, power_cap_w=reason.wanted), it
        case Code.NO_REPLICA:
            data = tuple(replace(d, sites=(SiteName(r.site),)) if d.name == reason.subject else d for d in it.data)
            return snapshot, replace(it, data=data)
        case Code.NO_LINK:
            source = SiteName(reason.detail.split(", ")[0])
            key = link_key(source, SiteName(r.site))
            return replace(snapshot, links={**snapshot.links, key: Link(*key, 10**8, 1_000, MICRO_YEN)}), it
        case Code.AVOIDED:
            return snapshot, replace(it, avoid=tuple(s for s in it.avoid if s != r.site))
        case _:
            raise AssertionError(f"{reason.code} excludes no site")


def with_ranks(snapshot: Snapshot, it: QueuedJob, r: Considered, ranks: int) -> Snapshot:
    """The fleet with room for so many ranks more in the flavor that a row names, on nodes as they are."""
    profile = view_of(snapshot, r.site).profile
    made: list[Flavor] = []
    for f in profile.flavors:
        each = r.reason.found // f.count if f.name == r.flavor else 1
        made.append(replace(f, count=f.count + -(-ranks // each)) if f.name == r.flavor else f)
    return profiled(snapshot, r.site, flavors=tuple(made))


@st.composite
def troubled(draw: st.DrawFn) -> tuple[Snapshot, QueuedJob]:
    """One job, and a fleet with something wrong about most of its sites."""
    snapshot = draw(fleets())
    (it,) = draw(queues(1).filter(bool))
    for view in snapshot.sites:
        state = draw(st.sampled_from([{}, {}, {"joined": False}, {"lost": True}, {"draining": True}]))
        snapshot = sited(snapshot, view.profile.name, **state)
        if draw(st.booleans()):
            idle = sum(f.count * f.idle_w for f in view.profile.flavors)
            drawn = sum(b.power_w for b in snapshot.busy if b.site == view.profile.name)
            snapshot = profiled(snapshot, view.profile.name, power_cap_w=idle + drawn + draw(st.integers(1, 60)))
    if draw(st.booleans()):
        data = dataset("rare", GB, *draw(st.sampled_from([(), ("a",), ("b", "c")])), purposes=("research",))
        purpose = draw(st.sampled_from(["research", "research", "sale"]))
        it = replace(it, data=(*it.data, replace(data, purpose=purpose)))
    if draw(st.booleans()):
        it = replace(it, restricted=(("corpus@1", ("JP-01",)),))
    if draw(st.booleans()):
        it = replace(it, order=replace(it.order, nodes=draw(st.integers(1, 9)), need=Need(draw(st.integers(1, 5)))))
    return snapshot, it


@settings(max_examples=250, deadline=None)
@given(troubled())
def test_a_rule_that_is_lifted_is_not_shown_again_and_at_last_the_site_opens(case):
    snapshot, it = case
    for name in ("a", "b", "c"):
        world, asks, shown = snapshot, it, []
        while not (r := row(rows_of(plan(world, (asks,), NOW, POLICY)), name)).feasible:
            rule = (r.reason.code, r.reason.subject)
            assert rule not in shown, "lifting what was shown changed nothing"
            shown.append(rule)
            assert len(shown) < 20
            world, asks = lifted(world, asks, r)


@settings(max_examples=150, deadline=None)
@given(troubled())
def test_a_rule_s_figure_is_the_least_that_will_do(case):
    snapshot, it = case
    for r in rows_of(plan(snapshot, (it,), NOW, POLICY)):
        if r.reason.code is Code.POWER_CAP:
            less = profiled(snapshot, r.site, power_cap_w=r.reason.wanted - 1)
        elif r.reason.code is Code.TOO_FEW_NODES and r.reason.wanted - r.reason.found > 1:
            count = next(f.count for f in view_of(snapshot, r.site).profile.flavors if f.name == r.flavor)
            assume(r.reason.found == count)  # one rank on each node
            less = with_ranks(snapshot, it, r, r.reason.wanted - r.reason.found - 1)
        else:
            continue
        assert row(rows_of(plan(less, (it,), NOW, POLICY)), r.site).reason.code is r.reason.code


LEFT = st.sampled_from([MINUTE, 20 * MINUTE, HOUR, HOUR, 5 * HOUR])


@st.composite
def contended(draw: st.DrawFn) -> tuple[Snapshot, QueuedJob, Policy]:
    """One job, a fleet at work on which it could run, and what waiting and money are worth."""
    sites: list[SiteView] = []
    held: list[Busy] = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        count = draw(st.integers(1, 3))
        price = DEAR_NODES + draw(st.sampled_from([0, 1, 40, 2_000])) * MICRO_YEN
        kinds = [flavor(count, price_micro_yen_per_hour=price)]
        if draw(st.booleans()):
            kinds.append(flavor(1, name="other", price_micro_yen_per_hour=price + draw(st.integers(0, 50)) * MICRO_YEN))
        idle = sum(f.count * f.idle_w for f in kinds)
        cap_w = draw(st.sampled_from([0, 0, idle + 100, idle + 130]))
        sites.append(site(name, draw(st.integers(1, 60)), *kinds, cap_w=cap_w))
        left_w = cap_w - idle if cap_w else 10**6
        for n in range(count):
            power_w = min(left_w, draw(st.sampled_from([0, 60])))
            left_w -= power_w
            if draw(st.integers(0, 3)):
                need = Need(draw(st.integers(1, 4)))
                held.append(busy(f"{name}-{n}", name, [n], draw(LEFT), need, power_w=power_w))
    data = tuple(dataset(f"d{k}", k * GB, draw(st.sampled_from("abc"))) for k in draw(st.sets(st.integers(1, 2))))
    it = job(
        "j",
        draw(st.sampled_from([MINUTE, 10 * MINUTE, HOUR, 3 * HOUR])),
        need=Need(draw(st.integers(1, 4))),
        nodes=draw(st.sampled_from([1, 1, 2, 3])),
        data=draw(st.sampled_from([(), (), data])),
        not_before=draw(st.sampled_from([0, 0, 5 * MINUTE])),
    )
    wait = draw(st.sampled_from([0, 20, 2_000])) * MICRO_YEN
    horizon = draw(st.sampled_from([30 * MINUTE, 100 * HOUR, 100 * HOUR]))
    return fleet(*sites, busy=held), it, replace(POLICY, wait_micro_yen_per_hour=wait, horizon_us=horizon)


def cheaper(snapshot: Snapshot, it: QueuedJob, r: Considered, micro_yen: int) -> Snapshot:
    """The fleet with the nodes of a row cheaper by so much for the time of the job there, rounded up."""
    off = -(-micro_yen * HOUR // (it.order.nodes * (r.end - r.start)))
    flavors = tuple(
        replace(f, price_micro_yen_per_hour=f.price_micro_yen_per_hour - off) if f.name == r.flavor else f
        for f in view_of(snapshot, r.site).profile.flavors
    )
    assume(all(f.price_micro_yen_per_hour >= 0 for f in flavors))
    return profiled(snapshot, r.site, flavors=flavors)


def won(after: Plan, r: Considered) -> bool:
    """Whether the site of a row is chosen now, or is as good as the one that is."""
    if after.placements and after.placements[0].placement.site == r.site:
        return True
    again = row(rows_of(after), r.site).reason
    return again.code is Code.DEARER and again.found == 0


@settings(max_examples=300, deadline=None)
@given(contended())
def test_dearer_made_cheaper_by_the_figure_is_chosen_and_by_less_is_not(case):
    snapshot, it, policy = case
    before = plan(snapshot, (it,), NOW, policy)
    for r in rows_of(before):
        if r.reason.code is not Code.DEARER:
            continue
        more = plan(cheaper(snapshot, it, r, r.reason.found + 10), (it,), NOW, policy)  # figures are rounded
        assert more.placements[0].placement.site == r.site
        if r.reason.found > 1_000:
            less = plan(cheaper(snapshot, it, r, r.reason.found - 1_000), (it,), NOW, policy)
            assert less.placements[0].placement.site == before.placements[0].placement.site


@settings(max_examples=300, deadline=None)
@given(contended())
def test_busy_and_freed_it_is_chosen_or_could_at_least_be_had(case):
    snapshot, it, policy = case
    before = plan(snapshot, (it,), NOW, policy)
    for r in rows_of(before):
        if r.reason.code is not Code.BUSY:
            continue
        assert r.reason.found > 0
        after = plan(freed(snapshot, r.site), (it,), NOW, policy)
        now = row(rows_of(after), r.site)
        assert now.reason.code is not Code.BUSY
        assert now.start < r.start
        if before.placements and r.reason.found <= policy.horizon_us:
            assert won(after, r)
        if not before.placements:
            assert after.placements


@settings(max_examples=300, deadline=None)
@given(contended(), st.sampled_from([0, MINUTE, 30 * MINUTE, -10 * MINUTE]))
def test_late_and_earlier_by_the_figure_it_is_chosen(case, slack):
    snapshot, it, policy = case
    due = it.run_us + slack
    it = replace(it, order=replace(it.order, deadline=Instant(NOW + due)))
    before = plan(snapshot, (it,), NOW, policy)
    for r in rows_of(before):
        if r.reason.code is not Code.LATE:
            continue
        assert r.reason.found == r.end - (NOW + due)
        lead = before.placements[0].placement
        assert r.end > lead.end
        if r.moved_bytes or r.start - r.reason.found < max(NOW, it.not_before):
            continue  # it isn't what runs there that makes it late
        there = [replace(b, end=Instant(b.end - r.reason.found)) for b in snapshot.busy if b.site == r.site]
        sooner = (*(b for b in snapshot.busy if b.site != r.site), *(b for b in there if b.end > NOW))
        assert won(plan(replace(snapshot, busy=sooner), (it,), NOW, policy), r)


@settings(max_examples=300, deadline=None)
@given(contended())
def test_what_the_chosen_site_awaits_is_in_its_way(case):
    snapshot, it, policy = case
    it = replace(it, not_before=Instant(0))
    result = plan(snapshot, (it,), NOW, policy)
    for planned in result.placements:
        chosen = row(planned.placement.considered, planned.placement.site)
        reason = chosen.reason
        assert (reason.found > 0) == (planned.issue_at > NOW) == bool(reason.detail)
        if not reason.detail:
            continue
        assert reason.found == planned.issue_at - NOW
        waits_for = [b for b in snapshot.busy if b.site == chosen.site and b.end == planned.issue_at]
        assert reason.detail in [b.job for b in waits_for]

        def without(gone: Sequence[Busy], chosen: Considered = chosen) -> Considered:
            left = tuple(b for b in snapshot.busy if b not in gone)
            return row(rows_of(plan(replace(snapshot, busy=left), (it,), NOW, policy)), chosen.site)

        named = without([b for b in waits_for if b.job == reason.detail])
        assert named.start <= chosen.start or named.flavor != chosen.flavor
        all_gone = without(waits_for)
        assert all_gone.start < chosen.start or all_gone.flavor != chosen.flavor or chosen.moved_bytes


@settings(max_examples=200, deadline=None)
@given(contended())
def test_what_has_no_place_says_what_it_waits_for(case):
    snapshot, it, policy = case
    it = replace(it, not_before=Instant(0))
    result = plan(snapshot, (it,), NOW, replace(policy, horizon_us=MINUTE // 2))
    for waiting in result.waiting:
        reason = waiting.reason
        if not any(r.feasible for r in waiting.considered):
            assert reason.code is Code.NO_SITE
            continue
        assert reason.code is Code.CAPACITY
        assert reason.found == min(r.reason.found for r in waiting.considered if r.feasible)
        assert reason.detail in [b.job for b in snapshot.busy if b.site == reason.subject] or not reason.detail
        longer = plan(snapshot, (it,), NOW, replace(policy, horizon_us=reason.found, wait_micro_yen_per_hour=10**12))
        assert longer.placements[0].issue_at == NOW + reason.found


def advanced(snapshot: Snapshot, queue: Sequence[QueuedJob], result: Plan, at: int) -> tuple[Snapshot, list[QueuedJob]]:
    """The fleet at `at` if nothing else comes: what ended is gone, and what the plan issued until then runs."""
    held = [b for b in snapshot.busy if b.end > at]
    jobs = {j.job: j for j in queue}
    for p in result.placements:
        place, it = p.placement, jobs[p.job]
        if p.issue_at < at and place.end > at:
            work = busy(p.job, place.site, place.nodes, place.end - NOW, it.order.need, power_w=place.power_w)
            held.append(replace(work, flavor=place.flavor))
    gone = {p.job for p in result.placements if p.issue_at < at}
    return replace(snapshot, busy=tuple(held)), [j for j in queue if j.job not in gone]


@settings(max_examples=150, deadline=None)
@given(contended(), st.data())
def test_if_nothing_else_comes_a_pending_job_starts_when_it_was_told(case, data):
    snapshot, it, policy = case
    it = replace(it, data=(), resumes=())
    first = plan(snapshot, (it,), NOW, policy)
    for planned in first.placements:
        at = data.draw(st.integers(NOW, planned.issue_at))
        later = plan(advanced(snapshot, (it,), first, at)[0], (it,), Instant(at), policy)
        assert later.placements[0].issue_at == planned.issue_at
        assert later.placements[0].placement.site == planned.placement.site


WHOLE_QUEUES = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([MINUTE, 10 * MINUTE, HOUR]), st.integers(-1, 1)), max_size=6
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=2),
    st.lists(st.sampled_from([MINUTE, HOUR]), max_size=3),
    WHOLE_QUEUES,
)
def test_if_nothing_else_comes_the_whole_queue_starts_as_it_was_told(sizes, lefts, asked):
    sites = [site(name, 20 + i, flavor(n)) for i, (name, n) in enumerate(zip("ab", sizes, strict=False))]
    spots = [(s.profile.name, n) for s in sites for n in range(s.profile.flavors[0].count)]
    held = [busy(f"x{i}", *(spots[i][0], [spots[i][1]]), left) for i, left in enumerate(lefts[: len(spots)])]
    snapshot = fleet(*sites, busy=held)
    most = max(sizes)
    queue: Sequence[QueuedJob] = tuple(
        job(f"j{i}", run_us, at=i, need=Need(4), nodes=min(nodes, most), priority=priority)
        for i, (nodes, run_us, priority) in enumerate(asked)
    )
    told = {p.job: p.issue_at for p in plan(snapshot, queue, NOW, POLICY).placements}
    started: dict[JobId, int] = {}
    now = NOW
    while queue:
        result = plan(snapshot, queue, now, POLICY)
        started |= {p.job: p.issue_at for p in result.placements if p.issue_at == now}
        ends = [b.end for b in snapshot.busy]
        now = Instant(min([p.placement.end for p in result.placements if p.issue_at == now] + ends, default=now + 1))
        snapshot, queue = advanced(snapshot, queue, result, now)
    assert started == told


def test_power_that_is_awaited_is_told():
    capped = site("a", 30, flavor(2), cap_w=200)  # idle 100 W
    snapshot = fleet(capped, busy=[busy("x", "a", [0], HOUR, power_w=60)])
    chosen = row(rows_of(plan(snapshot, (job("j", need=Need(4)),), NOW, POLICY)), "a").reason
    assert (chosen.code, chosen.detail, chosen.found) == (Code.CHOSEN, "x", HOUR)


def test_of_two_kinds_of_nodes_the_one_that_needs_less_power_is_told():
    low, high = flavor(name="low", peak_w=150), flavor(name="high", peak_w=900)
    capped = site("a", 30, high, low, cap_w=201)
    (r,) = rows_of(plan(fleet(capped), (job("j", need=Need(4)),), NOW, POLICY))
    assert (r.flavor, r.reason.code, r.reason.wanted, r.reason.found) == ("low", Code.POWER_CAP, 300, 201)


def test_beyond_the_horizon_the_price_is_not_the_reason():
    snapshot = fleet(site("a", 900, flavor(1)), site("b", 1), busy=[busy("x", "a", [0], 3 * HOUR)])
    policy = replace(POLICY, horizon_us=HOUR, wait_micro_yen_per_hour=0)
    r = row(rows_of(plan(snapshot, (job("j", need=Need(4)),), NOW, policy)), "a")
    assert (r.reason.code, r.reason.found) == (Code.BUSY, 3 * HOUR)
