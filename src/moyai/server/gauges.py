"""What of the control plane's state is shown as it stands: one look on the loop, then families of figures of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from moyai.control.core import Control
from moyai.control.state import Job
from moyai.facility.power import idle_power_w
from moyai.model.ids import JobId, SiteName, TenantName
from moyai.model.lifecycle import JobState
from moyai.model.units import Instant
from moyai.model.views import Health, Mode, SiteState
from moyai.server import clock
from moyai.server.checkpoints import VERSION
from moyai.server.routes_log import health_of
from moyai.server.show import site_state

if TYPE_CHECKING:
    from moyai.server.shell import Shell

MICROS = 1_000_000
MOST_TENANTS = 50
OTHER = "other"


class Tenants:
    """Names of tenants as labels: the first of them by their own, all beyond as "other"."""

    def __init__(self, most: int = MOST_TENANTS) -> None:
        self._most = most
        self._known: set[str] = {OTHER}

    def name(self, tenant: TenantName) -> str:
        """The label of a tenant."""
        if tenant in self._known:
            return tenant
        if len(self._known) > self._most:
            return OTHER
        self._known.add(tenant)
        return tenant


@dataclass(frozen=True, slots=True)
class FlavorSeen:
    """A flavor of a site: its nodes, and those of which nothing is held; accelerators likewise."""

    name: str
    nodes: int
    free_nodes: int
    accelerators: int
    free_accelerators: int


@dataclass(frozen=True, slots=True)
class SiteSeen:
    """A site as it stands."""

    name: SiteName
    state: SiteState
    lease_left_us: int
    commands: int  # that it has not answered yet
    power_w: int
    attempts: Mapping[str, int]  # live ones by their state
    flavors: tuple[FlavorSeen, ...]
    certificate_left_us: int | None  # of the newest that counts; None for a site without one


@dataclass(frozen=True, slots=True)
class Looked:
    """The control plane as it stands."""

    mode: Mode
    epoch: int
    durable_seq: int
    unwritten: int  # events in memory that are not durable yet
    lease_us: int
    jobs: Mapping[JobState, int]
    waiting: tuple[JobId, ...]  # for a place
    looked_at: Instant
    sites: tuple[SiteSeen, ...]
    plan_gap_milli: int
    plan_failed: bool
    pending: Mapping[str, int] = field(default_factory=dict[str, int])  # by tenant
    oldest_pending_us: int = 0
    disk_free_bytes: int = 0

    def finished(self, jobs: Mapping[JobId, Job], tenants: Tenants, free_bytes: int) -> "Looked":
        """The same, with what takes a while, for a thread. Of `jobs` only what never changes is read."""
        pending: dict[str, int] = {}
        oldest = int(self.looked_at)
        for name in self.waiting:
            job = jobs[name]
            label = tenants.name(job.tenant)
            pending[label] = pending.get(label, 0) + 1
            oldest = min(oldest, job.submitted_at)
        age = max(0, self.looked_at - oldest)
        return replace(self, pending=pending, oldest_pending_us=age, disk_free_bytes=free_bytes)


def look(shell: "Shell", control: Control) -> Looked:
    """Look at the state, on the loop. Work: what is live, and a copy of the names of what waits; not all jobs ever."""
    state, indexes, writer = control.state, control.indexes, shell.writer
    now, boot = clock.now(), clock.boot()
    live: dict[SiteName, dict[str, int]] = {}
    jobs = dict.fromkeys(JobState, 0)
    active: set[JobId] = set()
    for name in indexes.live:
        attempt = state.attempts[name]
        count = live.setdefault(attempt.site, {})
        count[attempt.state.value] = count.get(attempt.state.value, 0) + 1
        if attempt.job not in active:
            active.add(attempt.job)
            jobs[state.jobs[attempt.job].state] += 1
    for ended, count in indexes.ended.items():
        jobs[ended] += count
    jobs[JobState.PENDING] += len(state.jobs) - sum(jobs.values())  # those that wait for other tasks too
    held = indexes.usage.held()
    ends: dict[SiteName, int] = {}
    for certificate in state.certificates.values():
        if not certificate.revoked:
            ends[certificate.site] = max(certificate.ends_at, ends.get(certificate.site, 0))
    sites: list[SiteSeen] = []
    for name, site in sorted(state.sites.items()):
        flavors: list[FlavorSeen] = []
        for f in site.profile.flavors:
            taken = held.get((name, f.name))
            nodes, accelerators = (taken.nodes, taken.accelerators) if taken else (0, 0)
            total = f.count * f.accelerators
            flavors.append(FlavorSeen(f.name, f.count, max(0, f.count - nodes), total, max(0, total - accelerators)))
        sites.append(
            SiteSeen(
                name=name,
                state=site_state(site),
                lease_left_us=control.leases.left_us(name, boot) if site.reachable else 0,
                commands=len(state.outbox.get(name, {})),
                power_w=idle_power_w(site.profile) + indexes.usage.power_w(name),
                attempts=live.get(name, {}),
                flavors=tuple(flavors),
                certificate_left_us=ends[name] - now if name in ends else None,
            )
        )
    return Looked(
        mode=health_of(shell).mode,
        epoch=control.epoch,
        durable_seq=writer.durable_seq,
        unwritten=max(0, state.seq - writer.durable_seq),
        lease_us=control.leases.lease_us,
        jobs=jobs,
        waiting=tuple(indexes.pending),
        looked_at=now,
        sites=tuple(sites),
        plan_gap_milli=shell.planner.figures.gap_milli,
        plan_failed=bool(shell.planner.figures.problem),
    )


def families(seen: Looked) -> Iterator[Metric]:
    """The look as families of figures."""
    yield from _itself(seen.mode, seen.epoch, seen.durable_seq)
    yield GaugeMetricFamily("moyai_log_unwritten_events", "Events on their way to the disk.", seen.unwritten)
    yield GaugeMetricFamily("moyai_disk_free_bytes", "Room where the log lies.", seen.disk_free_bytes)
    yield _by("moyai_jobs", "Jobs by their state.", "state", {s.value: n for s, n in seen.jobs.items()})
    yield _by("moyai_tenant_pending_jobs", "Jobs of a tenant that wait for a place.", "tenant", seen.pending)
    yield GaugeMetricFamily(
        "moyai_oldest_pending_seconds", "Age of the oldest job that waits for a place.", seen.oldest_pending_us / MICROS
    )
    yield GaugeMetricFamily(
        "moyai_plan_gap_ratio", "How far the newest plan is from the best at most.", seen.plan_gap_milli / 1_000
    )
    yield GaugeMetricFamily("moyai_plan_failed", "1 while the planner fails.", int(seen.plan_failed))
    yield GaugeMetricFamily("moyai_lease_seconds", "How long a site's lease is.", seen.lease_us / MICROS)
    yield from _sites(seen.sites)


def of_standby(health: Health) -> Iterator[Metric]:
    """What a control plane shows that stands by."""
    return _itself(health.mode, health.epoch, health.durable_seq)


def _itself(now: Mode, epoch: int, seq: int) -> Iterator[Metric]:
    yield InfoMetricFamily("moyai_build", "The version that runs.", {"version": VERSION})
    modes = {mode.value: int(mode is now) for mode in Mode}
    yield _by("moyai_control_mode", "1 for what the control plane does now.", "mode", modes)
    yield GaugeMetricFamily("moyai_control_epoch", "The epoch of the leader.", epoch)
    yield CounterMetricFamily("moyai_log_events", "Durable events of the log, as far as they were followed.", seq)


def _sites(sites: tuple[SiteSeen, ...]) -> Iterator[Metric]:
    up = GaugeMetricFamily("moyai_site_up", "1 while the site's agent holds its lease.", labels=["site"])
    state = GaugeMetricFamily("moyai_site_state", "1 for where the site stands.", labels=["site", "state"])
    lease = GaugeMetricFamily("moyai_site_lease_left_seconds", "What is left of the site's lease.", labels=["site"])
    commands = GaugeMetricFamily("moyai_site_commands", "Commands that the site has not answered.", labels=["site"])
    certificate = GaugeMetricFamily(
        "moyai_site_certificate_left_seconds", "Until the site's newest certificate ends.", labels=["site"]
    )
    power = GaugeMetricFamily("moyai_site_power_watts", "Modelled draw at the site's feed.", labels=["site"])
    attempts = GaugeMetricFamily("moyai_attempts", "Attempts under way, by state.", labels=["site", "state"])
    at = ["site", "flavor"]
    nodes = GaugeMetricFamily("moyai_site_nodes", "Nodes of a flavor.", labels=at)
    free = GaugeMetricFamily("moyai_site_free_nodes", "Nodes of which nothing is held.", labels=at)
    gpus = GaugeMetricFamily("moyai_site_accelerators", "Accelerators of a flavor.", labels=at)
    free_gpus = GaugeMetricFamily("moyai_site_free_accelerators", "Accelerators that nothing holds.", labels=at)
    for site in sites:
        up.add_metric([site.name], int(site.state in (SiteState.JOINED, SiteState.DRAINING)))
        for one in SiteState:
            state.add_metric([site.name, one.value], int(one is site.state))
        lease.add_metric([site.name], site.lease_left_us / MICROS)
        commands.add_metric([site.name], site.commands)
        power.add_metric([site.name], site.power_w)
        if site.certificate_left_us is not None:
            certificate.add_metric([site.name], site.certificate_left_us / MICROS)
        for name, count in sorted(site.attempts.items()):
            attempts.add_metric([site.name, name], count)
        for flavor in site.flavors:
            nodes.add_metric([site.name, flavor.name], flavor.nodes)
            free.add_metric([site.name, flavor.name], flavor.free_nodes)
            gpus.add_metric([site.name, flavor.name], flavor.accelerators)
            free_gpus.add_metric([site.name, flavor.name], flavor.free_accelerators)
    yield from (up, state, lease, certificate, commands, power, attempts, nodes, free, gpus, free_gpus)


def _by(name: str, said: str, label: str, figures: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, said, labels=[label])
    for key, figure in sorted(figures.items()):
        family.add_metric([key], figure)
    return family
