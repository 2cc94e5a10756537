"""What the HTTP API answers: plain frozen dataclasses in integers, with units in their names.

An instant is µs since 1970 (UTC); None where it has not come. Reasons are codes with figures (`moyai.model.reasons`);
`moyai.locale` words them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from moyai.model.lifecycle import AttemptState, JobState
from moyai.model.reasons import Considered, Reason
from moyai.model.site import SiteProfile
from moyai.model.workload import DataUse, Need


@dataclass(frozen=True, slots=True)
class Submitted:
    """The answer to a submission, and to each repetition of it with the same key."""

    job: str
    seq: int  # of the event that holds it
    created: bool  # False: this key had submitted it already


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One try to run a job."""

    attempt: str
    ordinal: int
    site: str
    flavor: str
    nodes: tuple[int, ...]  # one index into the flavor's nodes for each rank
    state: AttemptState
    issued_at: int
    started_at: int | None  # by control's clock
    ended_at: int | None
    planned_end: int
    reason: Reason | None  # why it ended, or why it is being stopped
    restore: str | None  # the manifest of the checkpoint that it resumed from
    covered_us: int  # run time that this checkpoint saved
    run_us: int
    cpu_us: int
    energy_j: int
    energy_modelled: bool
    cost_micro_yen: int
    carbon_mg: int
    output_bytes: int


@dataclass(frozen=True, slots=True)
class CheckpointView:
    """A complete checkpoint of a job. It is safe where two sites within reach hold it."""

    name: str
    attempt: str
    manifest: str
    size_bytes: int
    covered_us: int
    sites: tuple[str, ...]  # within reach that hold it
    safe: bool


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with everything that it did and used so far."""

    job: str
    name: str
    tenant: str
    project: str
    actor: str
    state: JobState
    reason: Reason | None  # of its last requeue, or of its end
    site: str  # of its newest attempt; "" before the first
    submitted_at: int
    started_at: int | None  # of its first start
    ended_at: int | None
    not_before: int  # it waits until then after a failure; 0: it doesn't
    planned_start: int | None  # while it waits, by the newest plan
    deadline: int | None
    deadline_kept: bool | None  # None: without a deadline, or not over and not late yet
    exit_code: int | None  # of its newest attempt, where it ended by itself
    need: Need
    nodes: int
    priority: int
    expect_us: int
    limit_us: int
    retries: int
    own_failures: int
    residency: tuple[str, ...]
    data: tuple[DataUse, ...]
    attempts: tuple[AttemptView, ...]  # oldest first
    checkpoints: tuple[CheckpointView, ...]  # oldest first
    wait_us: int  # not running, from its submission to its end or to now
    run_us: int  # of all attempts
    cost_micro_yen: int  # of all attempts, egress included
    energy_j: int
    energy_modelled: bool
    carbon_mg: int
    moved_bytes: int


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, the newest first; `before` asks for the ones that follow, "" where there are none."""

    jobs: tuple[JobView, ...]
    before: str


@dataclass(frozen=True, slots=True)
class WhyView:
    """Where a job stands and why, with a row for each site. For a dry run, what would become of it now."""

    job: str  # "" for a dry run
    state: JobState
    reason: Reason
    considered: tuple[Considered, ...]
    site: str = ""  # where it runs, ran, or is planned to
    start: int | None = None  # while it waits: the earliest, if nothing else comes
    deadline: int | None = None
    awaits: str = ""  # the job whose end this start awaits
    expect_us: int = 0  # of its whole run, as long as it hasn't ended
    expect_source: str = ""  # who says so: "user", "history" (of its name), "tenant" (its history), "default"


@dataclass(frozen=True, slots=True)
class FlavorUse:
    """A kind of node at a site, and what live attempts hold of all its nodes together."""

    name: str
    count: int
    cores: int  # of one node
    memory_bytes: int  # of one node
    accelerator: str
    accelerators: int  # of one node
    used_cores: int
    used_memory_bytes: int
    used_accelerators: int
    busy_nodes: int  # of which something is held


class SiteState(StrEnum):
    """Where a site stands."""

    WAITING = "waiting"  # its agent never came
    JOINED = "joined"
    DRAINING = "draining"  # joined, and nothing new is placed there
    LOST = "lost"  # its lease is over, or an operator declared it dead


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """A site now. The profile carries the signals' present values."""

    site: str
    state: SiteState
    profile: SiteProfile
    draining: bool
    term: int  # joins so far
    capabilities: tuple[str, ...]
    flavors: tuple[FlavorUse, ...]
    power_w: int  # modelled draw at the feed now, idle nodes included
    attempts_issued: int
    attempts_running: int
    lease_left_us: int  # how long control would still wait for it
    agent_pid: int | None  # of a local site's agent
    problem: str  # why a local site's agent is not there; "" otherwise


@dataclass(frozen=True, slots=True)
class LinkView:
    """A link between two sites."""

    a: str
    b: str
    bytes_per_second: int
    latency_us: int
    egress_micro_yen_per_gb: int


class DatasetState(StrEnum):
    """Where a dataset version stands."""

    ADOPTING = "adopting"  # its site has not hashed it yet
    READY = "ready"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A dataset version, its rules, and who holds it."""

    dataset: str
    version: int
    tenant: str
    state: DatasetState
    problem: str  # why it was rejected
    registered_site: str
    sites: tuple[str, ...]  # within reach that hold it
    residency: tuple[str, ...]
    purposes: tuple[str, ...]
    manifest: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BlobView:
    """A blob that the control plane holds."""

    blob: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class EventView:
    """One event of the log, its body as JSON holds it, brought to the newest version."""

    seq: int
    kind: str
    recorded_at: int
    reported_at: int | None
    epoch: int
    tenant: str
    project: str
    actor: str
    request: str
    cause: int
    origin: str
    hash: str
    body: dict[str, Any]  # the fields of the type that `kind` names in moyai.model.events


@dataclass(frozen=True, slots=True)
class EventPage:
    """Durable events after the one asked for; `head` is the newest that is durable."""

    events: tuple[EventView, ...]
    head: int


class Mode(StrEnum):
    """What the control plane does now."""

    WRITING = "writing"
    FULL = "full"  # read-only until the log can be written again
    AWAY = "away"  # read-only until the log's database answers again
    BROKEN = "broken"  # read-only until a person has looked
    STOPPING = "stopping"
    STANDBY = "standby"  # another control plane leads, or may


@dataclass(frozen=True, slots=True)
class Health:
    """The control plane itself."""

    mode: Mode
    problem: str  # why it is read-only; "" otherwise
    version: str
    pid: int
    epoch: int
    seq: int  # of the state
    durable_seq: int
    started_at: int
    uptime_us: int
    local: bool  # it leaves by itself when nothing runs
    directory: str
    url: str  # of its page for browsers; "" where it has none
    lease_us: int
    sites: int
    sites_joined: int
    jobs: int
    jobs_pending: int
    jobs_active: int
    attempts_running: int
    plans: int  # made so far
    plan_us: int  # how long the newest one took
    plan_gap_milli: int  # of the newest one: how far from the best it is at most, in thousandths
    plan_problem: str  # why no plan is made; "" otherwise


@dataclass(frozen=True, slots=True)
class LinkToPage:
    """A link for a browser on this machine: it works once, and for a short while."""

    url: str
    valid_us: int


@dataclass(frozen=True, slots=True)
class ProblemView:
    """One of several things that are wrong in a spec."""

    message: str
    where: str = ""  # "train.yaml:7", or ""
    key: str = ""  # "resources.accelerators"
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ErrorView:
    """What was wrong, where, and what to do. `code` is a stable word for programs."""

    code: str
    message: str
    where: str = ""
    hint: str = ""
    problems: tuple[ProblemView, ...] = ()  # all of them, where a spec has several


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """The body of every answer with a status of 400 or more."""

    error: ErrorView
