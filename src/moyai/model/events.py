"""Every kind of event: a fact in the past tense, in integers. A kind is never changed, only given a next version.

`EVENTS` maps a kind to its type and its newest version. To change one: raise its version, and add one pure upcaster to
`moyai.model.upcast`; old bytes stay as they are.
"""

from dataclasses import dataclass
from enum import StrEnum

from moyai.model.identity import (
    CertificateIssued,
    CertificateRevoked,
    JoinTokenIssued,
    JoinTokenRevoked,
    JoinTokenSpent,
)
from moyai.model.ids import (
    AttemptId,
    DatasetName,
    FlavorName,
    JobId,
    ManifestId,
    NodeName,
    SiteName,
    TextRef,
    TransferId,
    WorkflowId,
)
from moyai.model.lifecycle import JobState, WorkflowState
from moyai.model.quick import quick
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.units import Instant
from moyai.model.workflow import Task
from moyai.model.workload import DatasetProfile, JobOrder


class Signal(StrEnum):
    """An outside fact about a site that changes over time."""

    PRICE = "price"  # micro-yen per kWh
    CARBON = "carbon"  # mg CO2 per kWh
    POWER_CAP = "power-cap"  # W


class Outcome(StrEnum):
    """How an attempt ended, in the engine's words made ours."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ControlStarted:
    """A control plane took over. Appends and commands of an older epoch are refused from here on."""

    epoch: int
    code_version: str


@dataclass(frozen=True, slots=True)
class SiteDeclared:
    """An operator declared a site, or changed its profile."""

    profile: SiteProfile


@dataclass(frozen=True, slots=True)
class LinkDeclared:
    """An operator declared a link, or changed it."""

    link: Link


@dataclass(frozen=True, slots=True)
class SignalChanged:
    """A signal of a site has a new value, in the unit that `Signal` names."""

    site: SiteName
    signal: Signal
    value: int


@dataclass(frozen=True, slots=True)
class SiteDrainChanged:
    """An operator wants nothing new at a site, or lifts that."""

    site: SiteName
    draining: bool


@dataclass(frozen=True, slots=True)
class SiteJoined:
    """A site's agent came, or came back after its lease was over. `term` counts the joins of that site, from 1."""

    site: SiteName
    incarnation: str  # of the agent's journal; a new one has forgotten everything
    term: int
    capabilities: tuple[str, ...]  # "guard", "mounts", "memory-limit", …


@dataclass(frozen=True, slots=True)
class CapacityReported:
    """An agent reports the nodes its engine has now."""

    site: SiteName
    flavors: tuple[Flavor, ...]


@dataclass(frozen=True, slots=True)
class SiteLost:
    """The lease of a site ran out at control, or an operator gave his word that nothing runs there any more."""

    site: SiteName
    term: int
    by_operator: bool


@quick
@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A person declared a job. Its words are sealed apart, under `text`."""

    job: JobId
    order: JobOrder
    text: TextRef


@dataclass(frozen=True, slots=True)
class JobCancelRequested:
    """A person asked for a job's end."""

    job: JobId


@quick
@dataclass(frozen=True, slots=True)
class Placement:
    """Where and when an attempt runs, what that is expected to take (modelled), and why."""

    site: SiteName
    flavor: FlavorName
    nodes: tuple[int, ...]  # one index into the flavor's nodes for each rank; an index may repeat
    start: Instant
    end: Instant  # as estimated
    power_w: int  # drawn at the site's feed while it runs
    cost_micro_yen: int
    energy_j: int
    carbon_mg: int
    considered: tuple[Considered, ...]


@quick
@dataclass(frozen=True, slots=True)
class AttemptIssued:
    """Control placed a job: the launch command of this attempt exists from here on."""

    attempt: AttemptId
    placement: Placement
    term: int  # of the site
    restore: ManifestId | None  # the checkpoint it resumes from
    covered_us: int  # run time that checkpoint saves


@quick
@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An engine reports that all ranks of an attempt run."""

    attempt: AttemptId
    started_at: Instant  # by the site's clock
    nodes: tuple[NodeName, ...]


@dataclass(frozen=True, slots=True)
class AttemptStopRequested:
    """Control wants an attempt to end."""

    attempt: AttemptId
    reason: Reason


@quick
@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An engine reports the end of an attempt. Reported once for each attempt; late for one that was presumed lost."""

    attempt: AttemptId
    outcome: Outcome
    reason: Reason
    started_at: Instant  # by the site's clock; 0 where it never started
    ended_at: Instant
    run_us: int  # by the site's CLOCK_BOOTTIME, all ranks from first start to last end
    cpu_us: int  # user and system time of all ranks
    energy_j: int
    energy_modelled: bool
    output_bytes: int


@dataclass(frozen=True, slots=True)
class AttemptLost:
    """Control presumes an attempt dead: its site is lost and every lease it could hold is over."""

    attempt: AttemptId
    reason: Reason


@dataclass(frozen=True, slots=True)
class JobRequeued:
    """A job goes back to the queue."""

    job: JobId
    not_before: Instant
    reason: Reason
    own_failure: bool  # counts against its retries


@quick
@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job is over: committed once, from its highest attempt."""

    job: JobId
    state: JobState
    reason: Reason


@dataclass(frozen=True, slots=True)
class DatasetRegistered:
    """A dataset version was named. Its path at `site` is sealed apart, under `text`."""

    profile: DatasetProfile
    site: SiteName
    text: TextRef


@dataclass(frozen=True, slots=True)
class DatasetAdopted:
    """An agent hashed a dataset where it lies and keeps it: the version is this content from here on."""

    dataset: DatasetName
    version: int
    site: SiteName
    manifest: ManifestId
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DatasetRejected:
    """An agent could not adopt a dataset."""

    dataset: DatasetName
    version: int
    site: SiteName
    detail: str


@quick
@dataclass(frozen=True, slots=True)
class CheckpointCompleted:
    """The marker of a checkpoint was renamed into place; the site holds it as `manifest`."""

    attempt: AttemptId
    name: str
    manifest: ManifestId
    size_bytes: int
    covered_us: int  # run time of the job that it saves, earlier attempts included


@quick
@dataclass(frozen=True, slots=True)
class TransferIssued:
    """Control wants a copy of a manifest at a site."""

    transfer: TransferId
    manifest: ManifestId
    source: SiteName
    target: SiteName
    size_bytes: int
    bytes_per_second: int  # the pace the target keeps
    latency_us: int
    job: JobId | None = None  # the job that needs it, and pays for it


@quick
@dataclass(frozen=True, slots=True)
class TransferEnded:
    """A transfer is over. Where `stored`, the target acknowledged the whole manifest, verified."""

    transfer: TransferId
    stored: bool
    moved_bytes: int
    took_us: int
    detail: str


@dataclass(frozen=True, slots=True)
class ReplicaDropRequested:
    """Control no longer needs a manifest at a site."""

    manifest: ManifestId
    site: SiteName


@dataclass(frozen=True, slots=True)
class ReplicaDropped:
    """A site no longer holds a manifest."""

    manifest: ManifestId
    site: SiteName


@dataclass(frozen=True, slots=True)
class WorkflowSubmitted:
    """A person declared a workflow. Its tasks follow, each a `JobSubmitted` in the same append."""

    workflow: WorkflowId
    name: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class WorkflowCancelRequested:
    """A person asked for a workflow's end, and with it for that of all its tasks."""

    workflow: WorkflowId


@dataclass(frozen=True, slots=True)
class WorkflowEnded:
    """Every task of a workflow is over."""

    workflow: WorkflowId
    state: WorkflowState
    reason: Reason


@dataclass(frozen=True, slots=True)
class FileStored:
    """A task succeeded, and its site keeps a file that it wrote. Reported before the attempt's end."""

    attempt: AttemptId
    file: str
    manifest: ManifestId
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ReportRefused:
    """An agent reported what can't be; the report is numbered, kept, and changes nothing else."""

    site: SiteName
    kind: str
    reason: Reason


EventBody = (
    ControlStarted
    | SiteDeclared
    | LinkDeclared
    | SignalChanged
    | SiteDrainChanged
    | SiteJoined
    | CapacityReported
    | SiteLost
    | JobSubmitted
    | JobCancelRequested
    | AttemptIssued
    | AttemptStarted
    | AttemptStopRequested
    | AttemptEnded
    | AttemptLost
    | JobRequeued
    | JobEnded
    | DatasetRegistered
    | DatasetAdopted
    | DatasetRejected
    | CheckpointCompleted
    | TransferIssued
    | TransferEnded
    | ReplicaDropRequested
    | ReplicaDropped
    | ReportRefused
    | WorkflowSubmitted
    | WorkflowCancelRequested
    | WorkflowEnded
    | FileStored
    | JoinTokenIssued
    | JoinTokenSpent
    | JoinTokenRevoked
    | CertificateIssued
    | CertificateRevoked
)

EVENTS: dict[str, tuple[type[EventBody], int]] = {
    cls.__name__: (cls, 1)
    for cls in EventBody.__args__  # every kind stands at version 1
}
"""kind → (type, newest version)."""

INFRASTRUCTURE = frozenset(
    {
        Code.SITE_LOST,
        Code.PREEMPTED,
        Code.MIGRATED,
        Code.LEASE_EXPIRED,
        Code.START_REFUSED,
        Code.LAUNCH_FAILED,
        Code.SUPERVISOR_LOST,
        Code.ENGINE_FORGOT,
        Code.DATA_LOST,
        Code.SUPERSEDED,
    }
)
"""Ends that are not the job's own fault: it is queued again, and no retry of its own is spent."""
