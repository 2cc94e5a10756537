"""What came out of a replay: a row for each job, a sample of the fleet every so often, and the figures of it all."""

from dataclasses import dataclass

from moyai.model.ids import JobId, SiteName, TenantName


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job. Times are µs from the start of the replay; None: not in this replay."""

    job: JobId
    tenant: TenantName
    accelerators: int  # on all its nodes
    nodes: int
    submitted_us: int
    started_us: int | None  # of its first attempt
    ended_us: int | None
    deadline_us: int | None
    succeeded: bool
    site: SiteName | None  # of its last attempt
    attempts: int
    preemptions: int
    run_us: int  # of all its attempts
    lost_us: int  # of that, done again or in vain
    moved_bytes: int
    cost_micro_yen: int  # nodes, electricity, egress; carbon apart
    energy_j: int
    carbon_mg: int
    rejected: bool = False  # control refused it: no site could ever run it

    @property
    def on_time(self) -> bool | None:
        """Whether it ended well by its deadline; None where it has none."""
        if self.deadline_us is None:
            return None
        return self.succeeded and self.ended_us is not None and self.ended_us <= self.deadline_us


@dataclass(frozen=True, slots=True)
class SiteSample:
    """A site at one instant."""

    site: SiteName
    busy: int  # accelerators held; cores at a site without accelerators
    total: int
    power_w: int  # at its feed, idle nodes included


@dataclass(frozen=True, slots=True)
class Sample:
    """The fleet at one instant."""

    at_us: int
    queued: int  # jobs that wait
    running: int
    missed: int  # deadlines passed so far by jobs that hadn't ended well
    met: int  # so far
    sites: tuple[SiteSample, ...]  # by name


@dataclass(frozen=True, slots=True)
class Outcome:
    """One replay by one policy."""

    setup: str
    policy: str
    seed: int
    jobs: tuple[JobRow, ...]  # in the order of the setup's arrivals
    samples: tuple[Sample, ...]
    plan_s: tuple[float, ...]  # real seconds of each plan
    gaps: tuple[float, ...]  # of each plan that has a bound
    wall_s: float  # real, of the whole replay
    events: int  # in the log
    head: str  # of the log
    peak_w: int  # all sites together, exact, not from the samples
    wan_bytes: int
    notes: tuple[str, ...] = ()
    span_us: int = 0  # until the last job came or ended; the sums below end there, what idles when the last job came
    feed_energy_j: int = 0  # at all feeds, idle nodes included
    idle_energy_j: int = 0  # the part of it that nodes draw whether they work or not
    idle_micro_yen: int = 0  # what that part cost
    idle_carbon_mg: int = 0
    held_us: int = 0  # accelerators held × µs, at sites that have some
    units_us: int = 0  # accelerators there × µs
