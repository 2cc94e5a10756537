"""What control can be asked, by people, by agents and by its own shell. Every id and time is given, not made."""

from dataclasses import dataclass

from moyai.model.events import Signal
from moyai.model.exchange import Hello, Report
from moyai.model.ids import JobId, ProjectName, SiteName, TenantName, TextRef, WorkflowId
from moyai.model.quick import quick
from moyai.model.site import Link, SiteProfile
from moyai.model.units import Instant
from moyai.model.workflow import TaskOrder
from moyai.model.workload import DatasetProfile, JobOrder


@dataclass(frozen=True, slots=True)
class TakeOver:
    """A control plane starts, with an epoch that the store gave it."""

    epoch: int
    code_version: str


@dataclass(frozen=True, slots=True)
class DeclareFleet:
    """Sites and links as an operator declares them. What is the same already changes nothing."""

    actor: str
    profiles: tuple[SiteProfile, ...]
    links: tuple[Link, ...]
    remote: tuple[SiteName, ...] = ()  # sites that join by themselves


@dataclass(frozen=True, slots=True)
class ChangeSignal:
    """A new value of an outside signal, in the unit `Signal` names."""

    actor: str
    site: SiteName
    signal: Signal
    value: int


@dataclass(frozen=True, slots=True)
class DrainSite:
    """Place nothing new at a site, or lift that."""

    actor: str
    site: SiteName
    draining: bool


@dataclass(frozen=True, slots=True)
class DeclareSiteDead:
    """An operator's word that nothing runs at a site any more."""

    actor: str
    site: SiteName


@quick
@dataclass(frozen=True, slots=True)
class SubmitJob:
    """A job, resolved from its spec. `request` is the idempotency key."""

    tenant: TenantName
    project: ProjectName
    actor: str
    request: str
    order: JobOrder
    text: TextRef


@dataclass(frozen=True, slots=True)
class CancelJob:
    """End a job."""

    actor: str
    job: JobId


@dataclass(frozen=True, slots=True)
class SubmitWorkflow:
    """A workflow, resolved from its spec. `texts` are those of its tasks, in their order."""

    tenant: TenantName
    project: ProjectName
    actor: str
    request: str
    name: str
    tasks: tuple[TaskOrder, ...]
    texts: tuple[TextRef, ...]


@dataclass(frozen=True, slots=True)
class CancelWorkflow:
    """End a workflow and all its tasks."""

    actor: str
    workflow: WorkflowId


@dataclass(frozen=True, slots=True)
class TextMissing:
    """The sealed text of a job was erased: it can't be launched any more."""

    job: JobId


@dataclass(frozen=True, slots=True)
class RegisterDataset:
    """Name a dataset that lies at a site. Version 0 asks for the next free one."""

    tenant: TenantName
    project: ProjectName
    actor: str
    request: str
    profile: DatasetProfile
    site: SiteName
    text: TextRef


@dataclass(frozen=True, slots=True)
class Join:
    """An agent's hello."""

    hello: Hello


@quick
@dataclass(frozen=True, slots=True)
class TakeReport:
    """The next report of a site's incarnation, in order."""

    site: SiteName
    incarnation: str
    report: Report


@dataclass(frozen=True, slots=True)
class LeaseOver:
    """Control waited out the lease of a site."""

    site: SiteName
    term: int


@dataclass(frozen=True, slots=True)
class IssueToken:
    """Let one agent join as a site, once."""

    actor: str
    token: str  # SHA-256 of its secret
    site: SiteName
    ends_at: Instant


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """A certificate as it would be issued; where the key has one already, that one stands."""

    serial: str
    key: str  # SHA-256 of the public key
    begins_at: Instant
    ends_at: Instant


@dataclass(frozen=True, slots=True)
class SpendToken:
    """An agent joins by a token, with the profile that it brings."""

    token: str
    profile: SiteProfile
    certificate: NewCertificate


@dataclass(frozen=True, slots=True)
class RenewCertificate:
    """A site's agent wants its next certificate. Who asks has shown a good one."""

    site: SiteName
    certificate: NewCertificate


@dataclass(frozen=True, slots=True)
class Revoke:
    """Take back all certificates and tokens of a site, or one certificate by its serial number."""

    actor: str
    what: str


@dataclass(frozen=True, slots=True)
class DeclareSite:
    """A site's own agent says what the site is now. The name is the certificate's."""

    site: SiteName
    profile: SiteProfile


Request = (
    TakeOver
    | DeclareFleet
    | ChangeSignal
    | DrainSite
    | DeclareSiteDead
    | SubmitJob
    | CancelJob
    | SubmitWorkflow
    | CancelWorkflow
    | TextMissing
    | RegisterDataset
    | Join
    | TakeReport
    | LeaseOver
    | IssueToken
    | SpendToken
    | RenewCertificate
    | Revoke
    | DeclareSite
)
