"""A small fleet that runs what a planner places, step by step, and checks each plan by the definitions alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import ceil

from hypothesis import strategies as st

from moyai.model.ids import AttemptId, FlavorName, SiteName
from moyai.model.site import SiteProfile, link_key, within
from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.plan.types import Busy, Plan, Planned, Planner, Policy, QueuedJob, SiteView, Snapshot
from plan.world import GB, GIB, HOUR, MINUTE, NOW, dataset, flavor, fleet, job, site

POLICY = Policy()
EVERY: Callable[[Planned], bool] = lambda planned: True  # noqa: E731


class Mill:
    """What runs, what waits, and the time. What runs ends as it was estimated, unless it is told otherwise."""

    def __init__(self, sites: Sequence[SiteView], queue: Iterable[QueuedJob] = (), links=None, rate=100_000_000):
        self.sites = list(sites)
        self.queue = list(queue)
        self.busy: dict[str, Busy] = {}
        self.now = NOW
        self.starts: dict[str, int] = {}  # job → µs from the beginning at which it was placed
        self.where: dict[str, str] = {}  # job → site
        self._links, self._rate = links, rate
        self._tries: dict[str, int] = {}

    def snapshot(self) -> Snapshot:
        """What a planner sees."""
        made = fleet(*self.sites, rate=self._rate, links=self._links)
        return replace(made, busy=tuple(self.busy[a] for a in sorted(self.busy)))

    def step(self, planner: Planner, keep: Callable[[Planned], bool] = EVERY, policy: Policy = POLICY) -> Plan:
        """One plan, checked, and done: but for those placements that `keep` says no to."""
        snapshot, queue = self.snapshot(), tuple(self.queue)
        plan = planner(snapshot, queue, Instant(self.now), policy)
        check(plan, snapshot, queue, self.now, policy)
        jobs = {j.job: j for j in queue}
        for planned in plan.placements:
            if keep(planned):
                self._start(jobs[planned.job], planned)
        return plan

    def _start(self, job: QueuedJob, planned: Planned) -> None:
        place, number = planned.placement, self._tries.get(job.job, 0) + 1
        self._tries[job.job] = number
        attempt = AttemptId(f"{job.job}.{number}")
        need, order = job.order.need, job.order
        self.busy[attempt] = Busy(
            attempt, job.job, job.tenant, place.site, place.flavor, place.nodes, need, place.power_w, place.end,
            order.priority, preemptible=False, unsaved_since=Instant(0),
        )  # fmt: skip
        self.queue.remove(job)
        self.starts[job.job] = self.now - NOW
        self.where[job.job] = place.site

    def advance(self, to: int | None = None) -> bool:
        """Go on to an instant, or to the next end of something. False where nothing runs."""
        if to is None:
            if not self.busy:
                return False
            to = min(b.end for b in self.busy.values())
        self.now = Instant(to)
        self.busy = {a: b for a, b in self.busy.items() if b.end > self.now}
        return True

    def run(self, planner: Planner) -> None:
        """Until nothing runs any more."""
        self.step(planner)
        while self.advance():
            self.step(planner)


def check(plan: Plan, snapshot: Snapshot, queue: Sequence[QueuedJob], now: int, policy: Policy) -> None:
    """Nothing twice, gangs whole, every rule kept, no node and no feed above what it has."""
    jobs = {j.job: j for j in queue}
    assert len({p.job for p in plan.placements}) == len(plan.placements)
    assert (plan.seq, plan.now, plan.preemptions) == (snapshot.seq, now, ())
    profiles = {s.profile.name: s.profile for s in snapshot.sites}
    views = {s.profile.name: s for s in snapshot.sites}
    holds = [(b.site, b.flavor, b.nodes, b.need, b.power_w) for b in snapshot.busy]
    for planned in plan.placements:
        job, place = jobs[planned.job], planned.placement
        _check_rules(planned, job, views[place.site], snapshot, now)
        holds.append((place.site, place.flavor, place.nodes, job.order.need, place.power_w))
    assert not _over(holds, profiles)


def _check_rules(planned: Planned, job: QueuedJob, view: SiteView, snapshot: Snapshot, now: int) -> None:
    place, order = planned.placement, job.order
    kind = view.profile.flavor(place.flavor)
    assert kind is not None
    assert view.joined
    assert not view.lost
    assert not view.draining
    assert len(place.nodes) == order.nodes
    assert not order.need.accelerators or kind.accelerator == order.need.accelerator
    for codes in [order.residency, *(c for _, c in job.restricted), *(d.residency for d in job.data)]:
        assert within(view.profile.jurisdiction, codes)
    assert all(not d.purposes or d.purpose in d.purposes for d in job.data)
    assert {*job.capabilities, *order.capabilities} <= set(view.capabilities)
    assert job.not_before <= now
    assert planned.issue_at <= now <= place.start < place.end
    moved, covered = list(job.data), 0
    if planned.restore is not None:
        resumed, covered = next((d, c) for d, c in job.resumes if d.manifest == planned.restore)
        moved.append(resumed)
    assert planned.covered_us == covered
    assert place.power_w >= 0
    for data in moved:
        if place.site not in data.sites:
            links = [k for s in data.sites if (k := snapshot.links.get(link_key(s, place.site)))]
            assert place.start >= now + min(link.transfer_us(data.size_bytes) for link in links)


def _over(holds: Iterable[tuple], profiles: dict[str, SiteProfile]) -> list[str]:
    """Nodes and feeds that hold more than they have."""
    took: dict[tuple[str, str, int], list[int]] = {}
    drawn: dict[str, int] = {}
    for name, kind, nodes, need, power_w in holds:
        drawn[name] = drawn.get(name, 0) + power_w
        for node in nodes:
            sums = took.setdefault((name, kind, node), [0, 0, 0])
            for i, part in enumerate((need.cores, need.memory_bytes, need.accelerators)):
                sums[i] += part
    over: list[str] = []
    for (name, kind, node), sums in took.items():
        has = profiles[name].flavor(FlavorName(kind))
        if has is None or not 0 <= node < has.count:
            over.append(f"{name}/{kind}/{node}")
        elif any(a > b for a, b in zip(sums, (has.cores, has.memory_bytes, has.accelerators), strict=True)):
            over.append(f"{name}/{kind}/{node}: {sums}")
    for name, power_w in drawn.items():
        profile = profiles[name]
        idle_w = ceil(sum(f.count * f.idle_w for f in profile.flavors) * profile.pue_milli / 1_000)
        if profile.power_cap_w and idle_w + power_w > profile.power_cap_w:
            over.append(f"{name}: {power_w} W")
    return over


NEEDS = st.sampled_from(
    [
        Need(1), Need(2), Need(4), Need(1, 9 * GIB), Need(3, GIB),
        Need(1, 0, "H100", 1), Need(2, 0, "H100", 2), Need(0, 0, "H100", 1),
    ]
)  # fmt: skip
SPANS = st.sampled_from([MINUTE, 7 * MINUTE, 10 * MINUTE, HOUR, HOUR + 7, 3 * HOUR])


@st.composite
def sites(draw, names: str = "abc") -> list[SiteView]:
    """Small sites, some capped, some that take no work."""
    made: list[SiteView] = []
    for name in names[: draw(st.integers(1, len(names)))]:
        flavors = [flavor(draw(st.integers(1, 4)), price_micro_yen_per_hour=draw(st.sampled_from([0, 5_000_000])))]
        if draw(st.booleans()):
            flavors.append(flavor(draw(st.integers(1, 3)), 4, "gpu", accelerator="H100", accelerators=2, peak_w=700))
        idle_w = sum(f.count * f.idle_w for f in flavors)
        cap_w = draw(st.sampled_from([0, 0, idle_w + 150, idle_w + 700, idle_w + 1_400]))
        made.append(
            site(
                name, draw(st.integers(5, 40)), *flavors, cap_w=cap_w,
                jurisdiction=draw(st.sampled_from(["JP", "JP-13", "SG"])),
                capabilities=draw(st.sampled_from([(), ("mounts",)])),
                draining=draw(st.sampled_from([False] * 5 + [True])),
                lost=draw(st.sampled_from([False] * 5 + [True])),
            )
        )  # fmt: skip
    return made


@st.composite
def jobs(draw, number: int, names: str = "abc", *, plain: bool = False) -> QueuedJob:
    """One job; a plain one has nothing but a need, a run time, a deadline and a tenant."""
    run_us = draw(SPANS)
    deadline = draw(st.sampled_from([None, Instant(NOW + HOUR), Instant(NOW + 4 * HOUR)]))
    base = job(
        f"j{number:02d}", run_us, at=draw(st.integers(0, 3)), need=draw(NEEDS), nodes=draw(st.sampled_from([1, 1, 1, 2, 3, 5])),
        deadline=deadline, tenant=draw(st.sampled_from(["acme", "zoo"])),
    )  # fmt: skip
    if plain:
        return base
    data = []
    if draw(st.integers(0, 3)) == 0:
        held = draw(st.lists(st.sampled_from(list(names)), unique=True, max_size=2))
        data = [dataset(f"d{draw(st.integers(0, 1))}", draw(st.sampled_from([0, GB, 50 * GB])), *sorted(held))]
    resumes = ()
    if draw(st.integers(0, 5)) == 0:
        view = dataset("save", GB, draw(st.sampled_from(list(names))))
        resumes = ((view, draw(st.integers(1, run_us))),)
    order = replace(
        base.order,
        priority=draw(st.sampled_from([0, 0, 0, 5])),
        residency=draw(st.sampled_from([(), (), ("JP",), ("JP-13",)])),
        capabilities=draw(st.sampled_from([(), (), ("mounts",)])),
    )
    return replace(
        base, order=order, data=tuple(data), resumes=resumes,
        not_before=draw(st.sampled_from([Instant(0), Instant(0), Instant(NOW + 5 * MINUTE)])),
        avoid=draw(st.sampled_from([(), (), (SiteName(names[0]),)])),
    )  # fmt: skip
