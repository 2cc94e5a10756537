"""What is replayed: a fleet, the jobs that come with what they really do, and what changes outside meanwhile.

Times are microseconds from the start of the replay; time 0 is `began`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from moyai.model.events import Signal
from moyai.model.ids import JobId, ProjectName, SiteName, TenantName, job_id
from moyai.model.site import Link, SiteProfile
from moyai.model.units import Instant
from moyai.model.workflow import TaskOrder
from moyai.model.workload import DatasetProfile, JobOrder
from moyai.plan.types import Policy
from moyai.twin.engine import Work
from moyai.twin.world import START


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job that somebody submits, and what it really does. The planner sees `order` alone.

    `order.deadline` is an instant (`began` + …); `order.expect_us` is what its user says, right or wrong.
    """

    at_us: int
    tenant: TenantName
    project: ProjectName
    key: str  # idempotency key, unique in the setup
    order: JobOrder
    work: Work

    @property
    def job(self) -> JobId:
        """The id that control will give it."""
        return job_id(self.tenant, self.project, self.order.name, self.key)


@dataclass(frozen=True, slots=True)
class Flow:
    """A workflow that somebody submits. Its tasks are arrivals, too, under the keys "<key>/<task>", at the same time.

    The planner sees the orders of `tasks`, which name their files; `Arrival.work` says how large those really are.
    """

    at_us: int
    tenant: TenantName
    project: ProjectName
    key: str
    name: str
    tasks: tuple[TaskOrder, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A dataset version that lies at a site, from the start or from `at_us` on."""

    tenant: TenantName
    project: ProjectName
    profile: DatasetProfile
    site: SiteName
    size_bytes: int
    at_us: int = 0


class Mishap(StrEnum):
    """What befalls a site."""

    LOST = "lost"  # its agent and everything that ran there are gone, its disk stays
    BACK = "back"  # its agent comes again
    DRAIN = "drain"  # takes no new work
    UNDRAIN = "undrain"


@dataclass(frozen=True, slots=True)
class Fault:
    """A mishap at a site."""

    at_us: int
    site: SiteName
    mishap: Mishap


@dataclass(frozen=True, slots=True)
class Change:
    """A signal takes a new value, in the unit that `Signal` names."""

    at_us: int
    site: SiteName
    signal: Signal
    value: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody ends a job that came before; nothing where it is over already."""

    at_us: int
    job: JobId


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything about a replay but the planner."""

    name: str
    profiles: tuple[SiteProfile, ...]
    links: tuple[Link, ...]
    arrivals: tuple[Arrival, ...]  # by time
    workflows: tuple[Flow, ...] = ()  # by time
    datasets: tuple[Placed, ...] = ()
    faults: tuple[Fault, ...] = ()  # by time
    changes: tuple[Change, ...] = ()  # by time
    cancels: tuple[Cancel, ...] = ()  # by time
    homes: Mapping[TenantName, SiteName] = field(default_factory=dict[TenantName, SiteName])  # for the peers alone
    policy: Policy = field(default_factory=Policy)
    plan_every_us: int = 60_000_000  # between two plans at least
    sample_every_us: int = 600_000_000  # between two samples of the series
    began: Instant = START
    notes: tuple[str, ...] = ()  # shown wherever a figure of it is: sources, what is synthetic
