"""A queue and a fleet as a placement problem: identical jobs as one class, and for each class its options.

An option is a site, a flavor and what the job resumes from; with a start it is a candidate placement. All money is in
micro-yen, all time in microseconds, all of it integers. Nothing here knows what runs now: that is `timeline`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from moyai.facility.grid import carbon_mg, carbon_micro_yen, electricity_micro_yen, energy_j
from moyai.facility.power import attempt_power_w, idle_power_w
from moyai.model.ids import FlavorName, ManifestId, SiteName, TenantName
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.site import Flavor, SiteProfile, link_key
from moyai.model.units import MICROS_PER_HOUR, Instant
from moyai.plan.lanes import Lanes, Move
from moyai.plan.pack import Size, size_of
from moyai.plan.rules import data_rule, flavor_rule, nearest_miss, site_rule, source_of
from moyai.plan.types import DataView, Policy, QueuedJob, SiteView, Snapshot

PoolKey = tuple[SiteName, FlavorName]

LEAST_LEFT = 20
"""A job whose checkpoint covers all of its estimate is expected to take one part in so many of it still."""


@dataclass(frozen=True, slots=True)
class Option:
    """A way to run a job of a class. `soonest` and `least_egress` hold whatever else is planned; they serve bounds."""

    site: SiteName
    flavor: Flavor
    run_us: int
    restore: ManifestId | None
    covered_us: int
    moves: tuple[Move, ...]
    power_w: int
    energy_j: int
    carbon_mg: int
    run_micro_yen: int  # electricity, nodes, and carbon at its price
    soonest: int  # its work can't start before, were the fleet empty
    least_egress: int  # its share where other jobs want the same data

    @property
    def pool(self) -> PoolKey:
        """The nodes that it takes."""
        return self.site, self.flavor.name


@dataclass(slots=True, eq=False)
class JobClass:
    """Jobs that differ in nothing that a placement depends on, in the queue's order."""

    jobs: list[QueuedJob]
    size: Size
    ranks: int
    earliest: int
    now: int
    run_us: int
    deadline: int | None
    worth: int  # of the work of one job
    wait_rate: int  # per hour that its end is later than a whole run from now
    late_rate: int  # per hour past its deadline
    options: tuple[Option, ...] = ()
    excluded: tuple[Considered, ...] = ()
    ideal: int = 0  # the best value that one of its jobs could have on an empty fleet
    unplaced: int = 0  # the value of leaving one out; less than that of any option within the horizon

    def value(self, option: Option, end: int, egress_micro_yen: int) -> int:
        """The worth of a job less what it costs and what its delay costs. Never rises with `end`."""
        value = self.worth - option.run_micro_yen - egress_micro_yen
        value -= self.wait_rate * (end - self.now - self.run_us) // MICROS_PER_HOUR
        if self.deadline is not None and end > self.deadline:
            value -= self.late_rate * (end - self.deadline) // MICROS_PER_HOUR
        return value

    def best_value(self, option: Option, start: int) -> int:
        """The most that an option can be worth if its work starts at `start`."""
        return self.value(option, start + option.run_us, option.least_egress)


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything that a plan is made from. `queue` is every job with its class, the first in order first."""

    snapshot: Snapshot
    now: int
    policy: Policy
    sites: tuple[SiteView, ...]  # by name
    idle_w: dict[SiteName, int]  # of the capped sites, at their feeds
    lanes: Lanes  # with what is under way
    classes: tuple[JobClass, ...]
    queue: tuple[tuple[QueuedJob, JobClass], ...]

    @property
    def last_start(self) -> int:
        """The horizon: nothing is planned to take nodes after it."""
        return self.now + self.policy.horizon_us


def build(snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy) -> Problem:
    """The problem of a queue. The order of what is handed in makes no difference."""
    sites = tuple(sorted(snapshot.sites, key=lambda s: s.profile.name))
    idle_w = {s.profile.name: idle_power_w(s.profile) for s in sites if s.profile.power_cap_w}
    flows = sorted(snapshot.flows, key=lambda f: (f.source, f.target, f.left_bytes, f.manifest or ""))
    lanes = Lanes(now, flows, snapshot.links)
    wanted = Counter(m for job in queue for m in _manifests(job))
    classes: dict[tuple[object, ...], JobClass] = {}
    ordered: list[tuple[QueuedJob, JobClass]] = []
    for job in sorted(queue, key=lambda j: (-j.order.priority, j.submitted_at, j.job)):
        key = _class_key(job, now)
        found = classes.get(key)
        if found is None:
            found = classes[key] = job_class(job, now, policy)
        found.jobs.append(job)
        ordered.append((job, found))
    problem = Problem(snapshot, now, policy, sites, idle_w, lanes, tuple(classes.values()), tuple(ordered))
    for cls in problem.classes:
        _find_options(problem, cls, wanted)
    return problem


def _class_key(job: QueuedJob, now: int) -> tuple[object, ...]:
    order, need = job.order, job.order.need
    return (
        (need.cores, need.memory_bytes, need.accelerator, need.accelerators, order.nodes, order.priority),
        (order.deadline, max(now, job.not_before), job.run_us, job.tenant),
        job.data and tuple((d.manifest, d.sites, d.residency, d.purposes, d.purpose, d.name) for d in job.data),
        job.resumes and tuple((d.manifest, d.sites, covered) for d, covered in job.resumes),
        (job.capabilities, order.capabilities, job.restricted, order.residency, job.avoid),
    )


def _manifests(job: QueuedJob) -> tuple[ManifestId, ...]:
    """What a job may have to move, each once."""
    return tuple(dict.fromkeys([*(d.manifest for d in job.data), *(d.manifest for d, _ in job.resumes)]))


def weight_milli(policy: Policy, tenant: TenantName, priority: int) -> int:
    """What an hour of a job counts, in thousandths: its priority, times the weight of its tenant. Never negative.

    Priority −p weighs as many times less than 0 as p weighs more.
    """
    step = 1_000 + policy.priority_step_milli * abs(priority)
    return (step if priority >= 0 else 1_000_000 // step) * policy.tenant_weight_milli.get(tenant, 1_000) // 1_000


def job_class(job: QueuedJob, now: int, policy: Policy) -> JobClass:
    """The class of a job, without jobs and options yet."""
    order = job.order
    weight = order.nodes * weight_milli(policy, job.tenant, order.priority)
    return JobClass(
        jobs=[],
        size=size_of(order.need),
        ranks=order.nodes,
        earliest=max(now, job.not_before),
        now=now,
        run_us=job.run_us,
        deadline=order.deadline,
        worth=policy.value_micro_yen_per_node_hour * job.run_us * weight // (MICROS_PER_HOUR * 1_000),
        wait_rate=policy.wait_micro_yen_per_hour * weight // 1_000,
        late_rate=policy.late_micro_yen_per_hour * weight // 1_000,
    )


def _find_options(problem: Problem, cls: JobClass, wanted: Counter[ManifestId]) -> None:
    job = cls.jobs[0]
    options: list[Option] = []
    excluded: list[Considered] = []
    for view in problem.sites:
        found = site_options(problem, cls, view, wanted)
        if isinstance(found, Considered):
            excluded.append(found)
        else:
            options.extend(found)
    if job.avoid and any(o.site not in job.avoid for o in options):
        avoided = sorted({o.site for o in options} & set(job.avoid))
        excluded.extend(Considered(s, "", False, Reason(Code.AVOIDED)) for s in avoided)
        options = [o for o in options if o.site not in job.avoid]
    cls.options, cls.excluded = tuple(options), tuple(excluded)
    if options:
        cls.ideal = max(cls.best_value(o, o.soonest) for o in options)
        furthest = problem.last_start + max(o.soonest for o in options) - problem.now
        cls.unplaced = min(cls.value(o, furthest + o.run_us, _egress(o.moves)) for o in options) - cls.worth


def site_options(
    problem: Problem, cls: JobClass, view: SiteView, wanted: Counter[ManifestId]
) -> list[Option] | Considered:
    """The options of a class at one site, or the row that tells the rule which excludes it."""
    job, profile = cls.jobs[0], view.profile
    reason = site_rule(view, job)
    if reason is not None:
        return Considered(profile.name, "", False, reason)
    flavors: list[Flavor] = []
    misses: list[tuple[str, Reason]] = []
    for flavor in sorted(profile.flavors, key=lambda f: f.name):
        miss = flavor_rule(profile, flavor, job, problem.idle_w.get(profile.name, 0))
        if miss is None:
            flavors.append(flavor)
        else:
            misses.append((flavor.name, miss))
    if not flavors:
        name, reason = nearest_miss(misses, job)
        return Considered(profile.name, name, False, reason)
    links = problem.snapshot.links
    for data in job.data:
        reason = data_rule(data, profile.name, links)
        if reason is not None:
            return Considered(profile.name, "", False, reason)
    inputs = moves_to(problem, job.data, profile.name, wanted)
    return [
        _option(problem, cls, profile, flavor, resume, inputs=inputs)
        for flavor in flavors
        for resume in _resumes(problem, job, profile.name)
    ]


def moves_to(
    problem: Problem, data: Sequence[DataView], site: SiteName, wanted: Counter[ManifestId]
) -> tuple[Move, ...]:
    """What of the data of a job must come to a site, each manifest once, from where it comes soonest."""
    moves: list[Move] = []
    for view in data:
        source = None if site in view.sites else source_of(view, site, problem.snapshot.links)
        if source is not None and all(m.manifest != view.manifest for m in moves):
            name, link = source
            took, egress = link.transfer_us(view.size_bytes), link.egress_micro_yen(view.size_bytes)
            sharers = max(1, wanted[view.manifest])
            moves.append(Move(view.manifest, view.size_bytes, link_key(name, site), took, egress, sharers))
    return tuple(moves)


def _resumes(problem: Problem, job: QueuedJob, site: SiteName) -> list[tuple[DataView | None, int]]:
    """What a job may resume from at a site: the best that lies there, or nothing; and a better one that can come."""
    here: tuple[DataView | None, int] = (None, 0)
    come: tuple[DataView | None, int] = (None, 0)
    gained = 0
    for view, covered_us in sorted(job.resumes, key=lambda r: (-r[1], r[0].manifest)):
        if site in view.sites:
            if covered_us > here[1]:
                here = (view, covered_us)
            continue
        source = source_of(view, site, problem.snapshot.links)
        if source is not None:
            gain = covered_us - source[1].transfer_us(view.size_bytes)
            if come[0] is None or gain > gained:
                come, gained = (view, covered_us), gain
    return [here, come] if come[0] is not None and come[1] > here[1] else [here]


def _option(
    problem: Problem,
    cls: JobClass,
    profile: SiteProfile,
    flavor: Flavor,
    resume: tuple[DataView | None, int],
    *,
    inputs: tuple[Move, ...],
) -> Option:
    view, covered_us = resume
    moves = inputs
    if view is not None:
        moves = (*inputs, *moves_to(problem, (view,), profile.name, Counter()))
    run_us = max(cls.run_us - covered_us, cls.run_us // LEAST_LEFT, 1)
    power_w = attempt_power_w(cls.jobs[0].order.need, cls.ranks, flavor, profile.pue_milli)
    carbon, cost = run_cost(profile, flavor, cls.ranks, power_w=power_w, run_us=run_us, policy=problem.policy)
    soonest, least_egress = cls.earliest, 0
    if moves:
        start = problem.now if any(m.sharers > 1 for m in moves) else cls.earliest
        came = problem.lanes.arrival(moves, profile.name, start)
        soonest = max(cls.earliest, came.at)
        least_egress = sum(
            move.egress_micro_yen // move.sharers
            for move, _ in came.slots
            if not problem.lanes.comes(move.manifest, profile.name)  # who starts later than that pays nothing
        )
    return Option(
        site=profile.name,
        flavor=flavor,
        run_us=run_us,
        restore=view.manifest if view is not None else None,
        covered_us=covered_us,
        moves=moves,
        power_w=power_w,
        energy_j=energy_j(power_w, run_us),
        carbon_mg=carbon,
        run_micro_yen=cost,
        soonest=soonest,
        least_egress=least_egress,
    )


def run_cost(
    profile: SiteProfile, flavor: Flavor, ranks: int, *, power_w: int, run_us: int, policy: Policy
) -> tuple[int, int]:
    """(carbon in mg, cost in micro-yen) of a run: electricity, nodes, and carbon at its price."""
    carbon = carbon_mg(power_w, run_us, profile.carbon_mg_per_kwh)
    cost = electricity_micro_yen(power_w, run_us, profile.price_micro_yen_per_kwh)
    cost += carbon_micro_yen(carbon, policy.carbon_micro_yen_per_kg)
    return carbon, cost + ranks * flavor.price_micro_yen_per_hour * run_us // MICROS_PER_HOUR


def _egress(moves: Sequence[Move]) -> int:
    return sum(m.egress_micro_yen for m in moves)
