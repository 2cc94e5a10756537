"""Small fleets and jobs for the tests of the planner, and a check of plans that shares no code with it."""

from collections.abc import Iterable, Sequence
from math import ceil

from moyai.model.ids import AttemptId, DatasetName, FlavorName, JobId, ManifestId, ProjectName, SiteName, TenantName
from moyai.model.reasons import Code
from moyai.model.site import Flavor, Link, SiteProfile, link_key, within
from moyai.model.units import MICRO_YEN, MICROS_PER_HOUR, Instant
from moyai.model.workload import JobOrder, Need
from moyai.plan.types import Busy, DataView, Plan, Policy, QueuedJob, SiteView, Snapshot

NOW = Instant(1_800_000_000_000_000)
HOUR = MICROS_PER_HOUR
MINUTE = HOUR // 60
GIB = 1 << 30
GB = 10**9


def flavor(count: int = 2, cores: int = 4, name: str = "cpu", **more) -> Flavor:
    """`count` nodes of `cores` cores and 16 GiB."""
    figures = {"memory_bytes": 16 * GIB, "idle_w": 50, "peak_w": 150} | more
    return Flavor(FlavorName(name), count, cores, **figures)


def site(
    name: str, price: int = 30, *flavors: Flavor, jurisdiction: str = "JP", cap_w: int = 0, pue: int = 1_000, **state
) -> SiteView:
    """A site that takes work, at `price` yen per kWh."""
    profile = SiteProfile(
        SiteName(name), "host", jurisdiction, 0, 0, flavors or (flavor(),), price * MICRO_YEN, 0, pue, cap_w
    )
    return SiteView(profile, **({"joined": True} | state))


def fleet(
    *sites: SiteView, busy: Sequence[Busy] = (), rate: int = 100_000_000, yen_per_gb: int = 1, links=None
) -> Snapshot:
    """A fleet with a link between every two of its sites, unless `links` says otherwise."""
    names = sorted(s.profile.name for s in sites)
    pairs = [(a, b) for a in names for b in names if a < b] if links is None else [link_key(*p) for p in links]
    made = {p: Link(*p, rate, 1_000, yen_per_gb * MICRO_YEN) for p in pairs}
    return Snapshot(7, tuple(sorted(sites, key=lambda s: s.profile.name)), made, tuple(busy))


def job(name: str, run_us: int = HOUR, *, at: int = 0, not_before: int = 0, tenant: str = "acme", **more) -> QueuedJob:
    """A job of one rank of one core, submitted `at` µs after the others."""
    outer = {k: more.pop(k) for k in ("data", "resumes", "capabilities", "restricted", "avoid") if k in more}
    order = JobOrder(name, **({"need": Need(1)} | more))
    return QueuedJob(
        JobId(name),
        TenantName(tenant),
        ProjectName("p"),
        order,
        Instant(NOW - HOUR + at),
        Instant(NOW + not_before if not_before else 0),
        run_us,
        **outer,
    )


def dataset(name: str, size: int, *sites: str, **more) -> DataView:
    """A dataset that lies at `sites`."""
    return DataView(
        f"{name}@1", ManifestId(name), size, tuple(SiteName(s) for s in sites), dataset=DatasetName(name), **more
    )


def checkpoint(name: str, size: int, *sites: str) -> DataView:
    """A checkpoint that lies at `sites`."""
    return DataView("checkpoint", ManifestId(name), size, tuple(SiteName(s) for s in sites))


def busy(name: str, where: str, nodes: Sequence[int], left_us: int, need: Need | None = None, **more) -> Busy:
    """An attempt that runs for `left_us` more."""
    figures = {"power_w": 0, "priority": 0, "preemptible": False, "unsaved_since": Instant(0)} | more
    lost = figures.pop("unsaved_us", 0)
    if lost:
        figures["unsaved_since"] = Instant(NOW - lost)
    return Busy(
        AttemptId(f"{name}.1"),
        JobId(name),
        TenantName("acme"),
        SiteName(where),
        FlavorName("cpu"),
        tuple(nodes),
        need or Need(4),
        end=Instant(NOW + left_us),
        **figures,
    )


def where(plan: Plan) -> dict[str, tuple[str, int, int]]:
    """job → (site, µs from now until it starts, µs until it ends)."""
    return {p.job: (p.placement.site, p.placement.start - NOW, p.placement.end - NOW) for p in plan.placements}


def row(rows: Iterable, name: str):
    """The row of a site."""
    return next(r for r in rows if r.site == name)


def check(plan: Plan, snapshot: Snapshot, queue: Sequence[QueuedJob], policy: Policy) -> None:
    """Everything that must hold of any plan, worked out from the definitions."""
    jobs = {j.job: j for j in queue}
    views = {s.profile.name: s for s in snapshot.sites}
    told = [p.job for p in plan.placements] + [w.job for w in plan.waiting]
    assert sorted(told) == sorted(jobs)
    assert plan.value_micro_yen <= plan.bound_micro_yen
    assert plan.gap >= 0
    for figure in (plan.value_micro_yen, plan.bound_micro_yen):
        assert type(figure) is int
    for waiting in plan.waiting:
        _check_rows(waiting.considered, snapshot, None)
    for planned in plan.placements:
        check_placement(planned, jobs[planned.job], views, snapshot, policy)
    check_holds(plan, snapshot, jobs)
    assert len(plan.preemptions) <= policy.preemptions_per_cycle
    held = {b.attempt: b for b in snapshot.busy}
    for stop in plan.preemptions:
        victim = held[stop.attempt]
        assert victim.preemptible
        assert victim.priority < jobs[stop.gains].order.priority
    assert len({s.attempt for s in plan.preemptions}) == len(plan.preemptions)


def _check_rows(rows, snapshot: Snapshot, chosen: str | None) -> None:
    assert [r.site for r in rows] == sorted(s.profile.name for s in snapshot.sites)
    assert [r.site for r in rows if r.reason.code is Code.CHOSEN] == ([chosen] if chosen else [])
    for r in rows:
        if not r.feasible:
            assert (r.start, r.end, r.cost_micro_yen, r.energy_j, r.carbon_mg, r.moved_bytes) == (0,) * 6
        else:
            assert NOW <= r.start < r.end


def check_placement(planned, job: QueuedJob, views, snapshot: Snapshot, policy: Policy) -> None:
    """The hard rules, and the placement's own figures."""
    placement = planned.placement
    view = views[placement.site]
    profile = view.profile
    kind = profile.flavor(placement.flavor)
    need, order = job.order.need, job.order
    assert kind is not None
    assert view.joined
    assert not view.lost
    assert not view.draining
    assert len(placement.nodes) == order.nodes
    for codes in [order.residency, *(c for _, c in job.restricted), *(d.residency for d in job.data)]:
        assert within(profile.jurisdiction, codes)
    assert all(not d.purposes or d.purpose in d.purposes for d in job.data)
    assert set(job.capabilities) | set(order.capabilities) <= set(view.capabilities)
    assert not need.accelerators or kind.accelerator == need.accelerator
    moved = list(job.data)
    covered = 0
    if planned.restore is not None:
        view_of, covered = next((d, c) for d, c in job.resumes if d.manifest == planned.restore)
        moved.append(view_of)
    assert planned.covered_us == covered
    for data in moved:
        links = [link for s in data.sites if (link := snapshot.links.get(link_key(s, placement.site)))]
        assert placement.site in data.sites or links
        if placement.site not in data.sites and all(f.manifest != data.manifest for f in snapshot.flows):
            assert placement.start >= NOW + min(link.transfer_us(data.size_bytes) for link in links)
    assert max(NOW, job.not_before) <= planned.issue_at <= placement.start
    assert planned.issue_at <= NOW + policy.horizon_us
    assert placement.end - placement.start == max(job.run_us - covered, job.run_us // 20, 1)
    chosen = row(placement.considered, placement.site)
    assert (chosen.start, chosen.end, chosen.cost_micro_yen) == (
        placement.start,
        placement.end,
        placement.cost_micro_yen,
    )
    _check_rows(placement.considered, snapshot, placement.site)


def check_holds(plan: Plan, snapshot: Snapshot, jobs) -> None:
    """No node and no feed holds more than it has, at any instant."""
    stopped = {s.attempt for s in plan.preemptions}
    holds = [
        (
            b.site,
            b.flavor,
            b.nodes,
            b.need,
            b.power_w,
            NOW - 1,
            min(b.end, NOW + b.grace_us) if b.attempt in stopped else b.end,
        )
        for b in snapshot.busy
    ]
    for p in plan.placements:
        place = p.placement
        holds.append(
            (place.site, place.flavor, place.nodes, jobs[p.job].order.need, place.power_w, p.issue_at, place.end)
        )
    profiles = {s.profile.name: s.profile for s in snapshot.sites}
    for at in sorted({p.issue_at for p in plan.placements}):
        live = [h for h in holds if h[5] <= at < h[6]]
        took: dict[tuple[str, str, int], list[int]] = {}
        power: dict[str, int] = {}
        for name, kind, nodes, need, power_w, *_ in live:
            power[name] = power.get(name, 0) + power_w
            for node in nodes:
                sums = took.setdefault((name, kind, node), [0, 0, 0])
                for i, part in enumerate((need.cores, need.memory_bytes, need.accelerators)):
                    sums[i] += part
        for (name, kind, node), sums in took.items():
            has = profiles[name].flavor(FlavorName(kind))
            assert has is not None
            assert 0 <= node < has.count
            assert all(a <= b for a, b in zip(sums, (has.cores, has.memory_bytes, has.accelerators), strict=True))
        for name, drawn in power.items():
            profile = profiles[name]
            idle = ceil(sum(f.count * f.idle_w for f in profile.flavors) * profile.pue_milli / 1_000)
            assert not profile.power_cap_w or idle + drawn <= profile.power_cap_w


def worth(plan: Plan, queue: Sequence[QueuedJob], policy: Policy) -> int:
    """The value of a plan's placements, from their figures: to within a few micro-yen a job."""
    jobs = {j.job: j for j in queue}
    total = 0.0
    for p in plan.placements:
        it = jobs[p.job]
        step = 1_000 + policy.priority_step_milli * abs(it.order.priority)
        milli = step if it.order.priority >= 0 else 1_000_000 // step
        weight = milli * policy.tenant_weight_milli.get(it.tenant, 1_000) // 1_000 * it.order.nodes / 1_000
        total += policy.value_micro_yen_per_node_hour * weight * it.run_us / HOUR
        total -= p.placement.cost_micro_yen
        total -= policy.wait_micro_yen_per_hour * weight * (p.placement.end - NOW - it.run_us) / HOUR
        if it.order.deadline is not None:
            total -= policy.late_micro_yen_per_hour * weight * max(0, p.placement.end - it.order.deadline) / HOUR
    return round(total)
