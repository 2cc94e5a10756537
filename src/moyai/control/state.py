"""What control knows: a reducer's state over the log. One writer mutates it in place, through `apply` alone.

Everything is integers, strings and plain mappings, so that its canonical bytes, and their hash, are the same on every
machine. Fields that start with `_` are indexes, rebuilt from the rest on loading and never hashed.
"""

import hashlib
from dataclasses import dataclass, field

import msgspec

from moyai.control.flows import Flows
from moyai.control.restless import Restless
from moyai.control.usage import Usage
from moyai.model.codec import decode
from moyai.model.envelope import GENESIS
from moyai.model.events import Placement
from moyai.model.ids import (
    AttemptId,
    DatasetName,
    JobId,
    ManifestId,
    ProjectName,
    SiteName,
    TenantName,
    TextRef,
    TransferId,
    WorkflowId,
    attempt_id,
    job_of,
)
from moyai.model.lifecycle import ATTEMPT_LIVE, JOB_ENDED, AttemptState, JobState, WorkflowState
from moyai.model.reasons import Reason
from moyai.model.site import Link, SiteProfile
from moyai.model.units import Instant
from moyai.model.workflow import Task
from moyai.model.workload import DatasetProfile, JobOrder


class BrokenInvariant(AssertionError):
    """What must always hold does not. Control becomes read-only; agents go on."""


@dataclass(slots=True)
class Site:
    """A declared site, and what is known of its agent."""

    profile: SiteProfile
    term: int = 0  # 0: its agent never came
    incarnation: str = ""
    lost: bool = False
    draining: bool = False
    capabilities: tuple[str, ...] = ()
    reports_through: int = 0  # of this incarnation

    @property
    def reachable(self) -> bool:
        """Whether its agent came and its lease is not over."""
        return self.term > 0 and not self.lost


@dataclass(slots=True)
class Checkpoint:
    """A complete checkpoint of a job."""

    manifest: ManifestId
    name: str
    attempt: AttemptId
    size_bytes: int
    covered_us: int


@dataclass(slots=True)
class Attempt:
    """One try to run a job, with its placement, its usage and its bill."""

    attempt: AttemptId
    job: JobId
    ordinal: int
    term: int
    placement: Placement
    issued_at: Instant
    restore: ManifestId | None
    covered_us: int
    state: AttemptState = AttemptState.ISSUED
    started_at: Instant = Instant(0)  # by control's clock, when the report was recorded
    ended_at: Instant = Instant(0)
    stop: Reason | None = None
    stop_at: Instant = Instant(0)
    reason: Reason | None = None
    run_us: int = 0
    cpu_us: int = 0
    output_bytes: int = 0
    energy_j: int = 0
    energy_modelled: bool = True
    cost_micro_yen: int = 0
    carbon_mg: int = 0
    failed_fetches: int = 0  # transfers of its inputs that came to nothing

    @property
    def site(self) -> SiteName:
        """Where it was placed."""
        return self.placement.site


@dataclass(slots=True)
class Job:
    """A job with its attempts and what it has used."""

    job: JobId
    tenant: TenantName
    project: ProjectName
    actor: str
    request: str
    order: JobOrder
    text: TextRef
    submitted_at: Instant
    submitted_seq: int
    state: JobState = JobState.PENDING
    not_before: Instant = Instant(0)
    attempts: int = 0  # ordinals issued
    own_failures: int = 0
    setbacks: int = 0  # requeues without a failure of its own, since it last ran
    reason: Reason | None = None  # of the last requeue, or of its end
    ended_at: Instant = Instant(0)
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])  # oldest first
    moved_bytes: int = 0
    egress_micro_yen: int = 0
    avoid: dict[SiteName, Instant] = field(default_factory=dict[SiteName, Instant])  # sites that failed it, until when
    workflow: WorkflowId | None = None  # whose task it is
    task: int = 0  # and which of them

    @property
    def newest(self) -> AttemptId | None:
        """The attempt that holds the fence: the highest ordinal issued."""
        return attempt_id(self.job, self.attempts) if self.attempts else None


@dataclass(slots=True)
class Replicas:
    """Who holds a manifest."""

    size_bytes: int
    sites: list[SiteName] = field(default_factory=list[SiteName])  # sorted
    dropping: list[SiteName] = field(default_factory=list[SiteName])  # told to delete it


@dataclass(slots=True)
class Transfer:
    """A copy of a manifest under way."""

    transfer: TransferId
    manifest: ManifestId
    source: SiteName
    target: SiteName
    size_bytes: int
    bytes_per_second: int
    latency_us: int
    job: JobId | None


@dataclass(slots=True)
class Dataset:
    """A dataset version. `manifest` is None until the site that has it adopted it."""

    profile: DatasetProfile
    tenant: TenantName
    site: SiteName
    text: TextRef
    manifest: ManifestId | None = None
    problem: str = ""
    job: JobId | None = None  # the task that makes it, and then `site` is "" until it did
    keep: bool = True  # stays when no task needs it any more


@dataclass(slots=True)
class Workflow:
    """A workflow. Its tasks' jobs say where it stands."""

    workflow: WorkflowId
    tenant: TenantName
    project: ProjectName
    actor: str
    request: str
    name: str
    tasks: tuple[Task, ...]
    submitted_at: Instant
    submitted_seq: int
    state: WorkflowState = WorkflowState.ACTIVE
    reason: Reason | None = None  # of its end
    ended_at: Instant = Instant(0)


@dataclass(slots=True)
class JoinToken:
    """Leave to join as a site. `key` and `serial` are those that spent it; "" while nobody did."""

    site: SiteName
    ends_at: Instant
    key: str = ""
    serial: str = ""


@dataclass(slots=True)
class Certificate:
    """A certificate of a site."""

    site: SiteName
    key: str
    begins_at: Instant
    ends_at: Instant
    revoked: bool = False


CommandRef = str
"""What an outstanding command is about: its kind, a space, and the id of its attempt, transfer, dataset or manifest."""


def dataset_key(name: DatasetName, version: int) -> str:
    """The key of a dataset version, as people write it: "corpus-ja@3"."""
    return f"{name}@{version}"


def request_key(tenant: TenantName, project: ProjectName, request: str) -> str:
    """The key under which the answer to an idempotency key is found again."""
    return f"{tenant}/{project}/{request}"


@dataclass(slots=True)
class State:
    """Everything, at log sequence `seq`."""

    seq: int = 0
    head_hash: str = GENESIS
    recorded_at: Instant = Instant(0)
    epoch: int = 0
    sites: dict[SiteName, Site] = field(default_factory=dict[SiteName, Site])
    links: dict[str, Link] = field(default_factory=dict[str, Link])  # "a|b"
    jobs: dict[JobId, Job] = field(default_factory=dict[JobId, Job])
    attempts: dict[AttemptId, Attempt] = field(default_factory=dict[AttemptId, Attempt])
    manifests: dict[ManifestId, Replicas] = field(default_factory=dict[ManifestId, Replicas])
    transfers: dict[TransferId, Transfer] = field(default_factory=dict[TransferId, Transfer])  # under way
    transfer_tries: dict[str, int] = field(default_factory=dict[str, int])  # "manifest>target" → ordinals issued
    datasets: dict[str, Dataset] = field(default_factory=dict[str, Dataset])
    requests: dict[str, JobId] = field(default_factory=dict[str, JobId])
    history: dict[str, list[int]] = field(default_factory=dict[str, list[int]])  # run times by project and name, µs
    tenant_history: dict[TenantName, list[int]] = field(default_factory=dict[TenantName, list[int]])  # run times, µs
    outbox: dict[SiteName, dict[CommandRef, int]] = field(default_factory=dict[SiteName, dict[CommandRef, int]])
    workflows: dict[WorkflowId, Workflow] = field(default_factory=dict[WorkflowId, Workflow])
    tokens: dict[str, JoinToken] = field(default_factory=dict[str, JoinToken])  # until a day after their ends
    certificates: dict[str, Certificate] = field(default_factory=dict[str, Certificate])  # likewise


class Indexes:
    """What is looked up often, derived from a state and kept beside it."""

    __slots__ = ("data_jobs", "ended", "flows", "live", "pending", "restless", "tasks", "usage")

    def __init__(self, state: State) -> None:
        self.pending: dict[JobId, None] = {}
        self.live: dict[AttemptId, None] = {}
        self.data_jobs: dict[JobId, None] = {}  # jobs whose datasets or checkpoints may need to move
        self.ended: dict[JobState, int] = {}  # how many jobs ended so
        self.usage = Usage()
        self.flows = Flows(state)
        self.restless = Restless(state, self.flows.users)
        self.tasks: dict[JobId, tuple[WorkflowId, int]] = {
            task.job: (name, number) for name, held in state.workflows.items() for number, task in enumerate(held.tasks)
        }
        for job in sorted(state.jobs.values(), key=lambda j: j.submitted_seq):
            if job.state is JobState.PENDING and job.job not in self.flows.unmet:
                self.pending[job.job] = None
            elif job.state in JOB_ENDED:
                self.ended[job.state] = self.ended.get(job.state, 0) + 1
            if keeps_data(job):
                self.data_jobs[job.job] = None
        for attempt in sorted(state.attempts):
            if (held := state.attempts[attempt]).state in ATTEMPT_LIVE:
                self.live[attempt] = None
                self.usage.take(held.placement, state.jobs[job_of(attempt)].order.need)


def keeps_data(job: Job) -> bool:
    """Whether the job's datasets or checkpoints may still have to move or be deleted."""
    if job.state in JOB_ENDED:
        return bool(job.checkpoints)
    return bool(job.checkpoints or (job.order.data and job.state is not JobState.PENDING))


_ENCODER = msgspec.json.Encoder(order="deterministic")


def state_bytes(state: State) -> bytes:
    """The canonical bytes of a state: what a checkpoint keeps and the state hash covers."""
    return _ENCODER.encode(state)


def state_from(data: bytes) -> State:
    """The state in canonical bytes. Raises DecodeError."""
    return decode(data, State)


def state_hash(state: State) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(state_bytes(state)).hexdigest()
