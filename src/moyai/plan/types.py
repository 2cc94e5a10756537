"""What a plan is made from, and what it says. Frozen values: the planner never sees an engine, the log or a clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from moyai.model.events import Placement
from moyai.model.ids import AttemptId, DatasetName, FlavorName, JobId, ManifestId, ProjectName, SiteName, TenantName
from moyai.model.quick import quick
from moyai.model.reasons import Considered, Reason
from moyai.model.site import Link, SiteProfile
from moyai.model.units import MICRO_YEN, MICROS_PER_HOUR, Instant
from moyai.model.workload import JobOrder, Need


@dataclass(frozen=True, slots=True)
class SiteView:
    """A site as the planner sees it: the profile carries the signals' present values."""

    profile: SiteProfile
    joined: bool
    lost: bool = False
    draining: bool = False
    capabilities: tuple[str, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Busy:
    """An attempt that holds nodes now, until `end` as far as is known."""

    attempt: AttemptId
    job: JobId
    tenant: TenantName
    site: SiteName
    flavor: FlavorName
    nodes: tuple[int, ...]  # as in Placement
    need: Need
    power_w: int
    end: Instant
    priority: int
    preemptible: bool  # it runs, declared a checkpoint, and is not being stopped
    unsaved_since: Instant  # what it did since then, a stop would lose; 0: nothing
    grace_us: int = 60_000_000  # between the wish that it stops and its end
    deadline: Instant | None = None

    def unsaved_us(self, now: int) -> int:
        """Run time that a stop at `now` would lose."""
        return max(0, now - self.unsaved_since) if self.unsaved_since else 0


@dataclass(frozen=True, slots=True)
class DataView:
    """A manifest that a job needs at its site before it starts: a dataset version, or its checkpoint."""

    name: str  # "corpus-ja@3" or "checkpoint"
    manifest: ManifestId
    size_bytes: int
    sites: tuple[SiteName, ...]  # reachable sites that hold it now
    dataset: DatasetName | None = None
    residency: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    purpose: str = ""  # what the job wants it for


@quick
@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A pending job with everything that its placement depends on."""

    job: JobId
    tenant: TenantName
    project: ProjectName
    order: JobOrder
    submitted_at: Instant
    not_before: Instant
    run_us: int  # estimate of a whole run, its source resolved (expect, history, default)
    data: tuple[DataView, ...] = ()
    resumes: tuple[tuple[DataView, int], ...] = ()  # checkpoints it may resume from, with the run time each covers
    capabilities: tuple[str, ...] = ()  # what an engine must have for it, e.g. "mounts"
    restricted: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (who demands it, residency codes), all must hold
    avoid: tuple[SiteName, ...] = ()  # sites that failed or preempted it a moment ago (Code.AVOIDED)


@dataclass(frozen=True, slots=True)
class Flow:
    """A transfer under way; it shares its link with those planned now."""

    source: SiteName
    target: SiteName
    left_bytes: int
    manifest: ManifestId | None = None  # what moves; a job that needs it there waits for it and pays nothing


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole fleet at log sequence `seq`."""

    seq: int
    sites: tuple[SiteView, ...]  # by name
    links: Mapping[tuple[SiteName, SiteName], Link] = field(default_factory=dict[tuple[SiteName, SiteName], Link])
    busy: tuple[Busy, ...] = ()  # by attempt
    flows: tuple[Flow, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What a yen is worth. Figures are defaults of ours; a programme sets its own in a policy file."""

    name: str = "moyai"
    value_micro_yen_per_node_hour: int = 1_000 * MICRO_YEN  # of work done on time, at priority 0 and weight 1
    priority_step_milli: int = 20  # value grows by this many thousandths for each step of priority
    late_micro_yen_per_hour: int = 2_000 * MICRO_YEN  # of each node of a job, for every hour past its deadline
    wait_micro_yen_per_hour: int = 20 * MICRO_YEN  # of each node of a job, for every hour it waits
    carbon_micro_yen_per_kg: int = 10 * MICRO_YEN
    miss_milli: int = 0  # part of a job's value that is lost once it is late, in thousandths (in the form at scale)
    tenant_weight_milli: Mapping[TenantName, int] = field(default_factory=dict[TenantName, int])
    share_milli: Mapping[TenantName, int] = field(default_factory=dict[TenantName, int])  # of the fleet, guaranteed
    horizon_us: int = 7 * 24 * MICROS_PER_HOUR
    preemptions_per_cycle: int = 4
    preempt_gain_milli: int = 1_500  # a preemption must gain this many thousandths of the work it loses
    exact_below_cells: int = 4_000  # jobs × options up to which the exact solver is asked, if greedy isn't proven best
    exact_gap_milli: int = 1  # relative gap at which the exact solver stops, in thousandths
    exact_seconds: float = 0.5  # the solver's own limit; only its bound and feasible answers are used
    replicate_bytes_per_hour: int = 0  # copies of datasets ahead of demand may move so much; 0: none are made
    replicate_bytes_per_site: int = 0  # they may take so much of one site's disk; 0: no cap
    migrations_per_round: int = 0  # running jobs that may be moved to a cheaper site, where none waits; 0: none are
    migrate_gain_milli: int = 200  # a move must gain this many thousandths of what the rest of the run costs
    migrate_after_us: int = MICROS_PER_HOUR // 2  # an attempt runs at least so long before it is moved
    scale_from: int = 200  # jobs in the queue from which on it is planned by classes and prices
    reprice_us: int = 0  # prices are found anew after that long; 0: in every cycle in which a job must wait


@quick
@dataclass(frozen=True, slots=True)
class Planned:
    """A placement for a job: to issue now if `issue_at` is not later than the plan's `now`, else a reservation.

    Between its issue and `placement.start` the nodes are held while its data comes.
    """

    job: JobId
    placement: Placement
    restore: ManifestId | None = None
    covered_us: int = 0
    issue_at: Instant = Instant(0)  # 0: now


@dataclass(frozen=True, slots=True)
class Preemption:
    """An attempt to stop so that `gains` can run."""

    attempt: AttemptId
    gains: JobId


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job without a placement in this plan, and why."""

    job: JobId
    reason: Reason
    considered: tuple[Considered, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Placements, preemptions, reasons, and a certificate: no plan of these options is worth more than the bound.

    In the form at scale, value and bound are told against leaving every job out.
    """

    seq: int
    now: Instant
    placements: tuple[Planned, ...] = ()
    preemptions: tuple[Preemption, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    value_micro_yen: int = 0
    bound_micro_yen: int = 0
    certified: bool = True  # else value and bound are 0: the prices of an earlier plan were used as they were
    again_at: Instant = Instant(0)  # a job may start then though nothing happened meanwhile; 0: none does
    later: "Later | None" = None  # tells of the jobs of the queue that are neither in `placements` nor in `waiting`

    @property
    def due(self) -> Instant | None:
        """When the next plan is due if nothing happens: the first reservation, or `again_at`; None: never."""
        times = [p.issue_at for p in self.placements if p.issue_at > self.now]
        return min([*times, self.again_at] if self.again_at > self.now else times, default=None)

    @property
    def gap(self) -> float:
        """(bound − value) / max(|bound|, 1 yen): the share that an optimal plan could at most gain."""
        return (self.bound_micro_yen - self.value_micro_yen) / max(abs(self.bound_micro_yen), MICRO_YEN)


class Later(Protocol):
    """What a plan means for the jobs that it doesn't list, worked out when somebody asks."""

    def of(self, job: JobId, /) -> Planned | Waiting | None:
        """What the plan says of a job; None where it never saw it. May be asked from another thread."""
        ...


class Planner(Protocol):
    """Makes plans. It may remember what it saw, for speed alone or as a starting point.

    Jobs of the queue that are unchanged since the last call are the same objects, and so are attempts in `busy`.
    """

    def __call__(self, snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy, /) -> Plan:
        """A plan for the queue, the oldest job first."""
        ...
