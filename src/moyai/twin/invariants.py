"""What must hold of a log and a state when a world has come to rest. Each finding is a sentence; none is good.

These checks share no code with `control.apply`: they read the log as a stranger would.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from moyai.control.core import Control, replay
from moyai.control.state import State, state_from, state_hash
from moyai.model import events as e
from moyai.model.envelope import CorruptRecord, Record
from moyai.model.ids import AttemptId, FlavorName, JobId, SiteName, job_of, ordinal_of
from moyai.model.lifecycle import (
    ATTEMPT_LIVE,
    ATTEMPT_MOVES,
    JOB_ENDED,
    JOB_MOVES,
    AttemptState,
    JobState,
)
from moyai.model.site import SiteProfile
from moyai.model.workload import JobOrder
from moyai.twin.control import Log

_OUTCOMES = {
    e.Outcome.SUCCEEDED: AttemptState.SUCCEEDED,
    e.Outcome.FAILED: AttemptState.FAILED,
    e.Outcome.STOPPED: AttemptState.STOPPED,
}


def findings(log: Log, control: Control, jobs: Sequence[JobId], middle: int) -> Iterator[str]:
    """Everything wrong with a world at rest. `middle`: the event at which a checkpoint is tried."""
    try:
        records = list(log.read())
    except CorruptRecord as error:
        yield f"the log does not verify: {error}"
        return
    yield from of_log(records)
    yield from of_jobs(control, jobs)
    yield from _replay(control.state, records, middle)


class _Reader:
    """Follows a log with the lifecycle tables and the declared capacity alone."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.attempts: dict[AttemptId, AttemptState] = {}
        self.jobs: dict[JobId, JobState] = {}
        self.orders: dict[JobId, JobOrder] = {}
        self.placements: dict[AttemptId, e.Placement] = {}
        self.newest: dict[JobId, AttemptId] = {}
        self.profiles: dict[SiteName, SiteProfile] = {}
        self.reports: dict[str, int] = {}
        self.live: dict[AttemptId, None] = {}  # in the order of their issue

    def attempt(self, seq: int, attempt: AttemptId, event: str, to: AttemptState) -> None:
        """One move of an attempt."""
        before = self.attempts.get(attempt)
        if to not in ATTEMPT_MOVES.get((before, event), ()):
            self.problems.append(f"event {seq}: {attempt} went from {before} to {to} by {event}")
        self.attempts[attempt] = to
        if to not in ATTEMPT_LIVE:
            self.live.pop(attempt, None)

    def job(self, seq: int, job: JobId, event: str, to: JobState) -> None:
        """One move of a job."""
        before = self.jobs.get(job)
        if to not in JOB_MOVES.get((before, event), ()):
            self.problems.append(f"event {seq}: {job} went from {before} to {to} by {event}")
        self.jobs[job] = to

    def issued(self, seq: int, body: e.AttemptIssued) -> None:
        """A new attempt: the fence, one live attempt of a job, and the capacity it is placed on."""
        job = job_of(body.attempt)
        expected = ordinal_of(self.newest[job]) + 1 if job in self.newest else 1
        if ordinal_of(body.attempt) != expected:
            self.problems.append(f"event {seq}: {body.attempt} issued, but ordinal {expected} is next")
        live = list(self.live)
        if any(job_of(a) == job for a in live):
            self.problems.append(f"event {seq}: {body.attempt} issued while another attempt of its job is live")
        self.newest[job] = body.attempt
        self.placements[body.attempt] = body.placement
        self._capacity(seq, body, [*live, body.attempt])

    def _capacity(self, seq: int, body: e.AttemptIssued, live: list[AttemptId]) -> None:
        site = body.placement.site
        profile = self.profiles[site]
        cores: dict[tuple[FlavorName, int], int] = {}
        memory: dict[tuple[FlavorName, int], int] = {}
        power_w = sum(f.count * f.idle_w for f in profile.flavors) * profile.pue_milli // 1_000
        for attempt in live:
            placement = self.placements[attempt]
            if placement.site != site:
                continue
            power_w += placement.power_w
            need = self.orders[job_of(attempt)].need
            for node in placement.nodes:
                key = (placement.flavor, node)
                cores[key] = cores.get(key, 0) + need.cores
                memory[key] = memory.get(key, 0) + need.memory_bytes
        for name, node in sorted({(body.placement.flavor, node) for node in body.placement.nodes}):
            used = cores[name, node]
            flavor = profile.flavor(name)
            if flavor is None or node >= flavor.count or used > flavor.cores:
                self.problems.append(f"event {seq}: {site} {name}[{node}] holds {used} cores")
            elif memory[name, node] > flavor.memory_bytes:
                self.problems.append(f"event {seq}: {site} {name}[{node}] holds {memory[name, node]} bytes")
        if profile.power_cap_w and power_w > profile.power_cap_w:
            self.problems.append(f"event {seq}: {site} draws {power_w} W of {profile.power_cap_w} W")


def of_log(records: Sequence[Record]) -> Iterator[str]:
    """What is wrong with a log alone: moves that no table has, a fence that was passed, capacity promised twice."""
    reader = _Reader()
    epoch = 0
    for record in records:
        if record.epoch < epoch:
            yield f"event {record.seq}: epoch {record.epoch} after epoch {epoch}"
        epoch = record.epoch
        if record.reported_at is not None:
            first = reader.reports.setdefault(record.request, record.seq)
            if first != record.seq:
                yield f"event {record.seq}: report {record.request} is in the log since event {first}"
        _follow(reader, record)
    yield from reader.problems


def _follow(reader: _Reader, record: Record) -> None:
    seq, body = record.seq, record.body
    match body:
        case e.SiteDeclared():
            reader.profiles[body.profile.name] = body.profile
        case e.CapacityReported():
            reader.profiles[body.site] = replace(reader.profiles[body.site], flavors=body.flavors)
        case e.SignalChanged() if body.signal is e.Signal.POWER_CAP:
            reader.profiles[body.site] = replace(reader.profiles[body.site], power_cap_w=body.value)
        case e.JobSubmitted():
            reader.job(seq, body.job, "JobSubmitted", JobState.PENDING)
            reader.orders[body.job] = body.order
        case e.JobCancelRequested():
            reader.job(seq, body.job, "JobCancelRequested", JobState.CANCELLING)
        case e.JobRequeued():
            reader.job(seq, body.job, "JobRequeued", JobState.PENDING)
        case e.JobEnded():
            reader.job(seq, body.job, "JobEnded", body.state)
            newest = reader.newest.get(body.job)
            if body.state is JobState.SUCCEEDED and (
                newest is None or reader.attempts[newest] is not AttemptState.SUCCEEDED
            ):
                reader.problems.append(f"event {seq}: {body.job} is committed, but its newest attempt did not succeed")
        case e.AttemptIssued():
            reader.attempt(seq, body.attempt, "AttemptIssued", AttemptState.ISSUED)
            reader.job(seq, job_of(body.attempt), "AttemptIssued", JobState.ACTIVE)
            reader.issued(seq, body)
            reader.live[body.attempt] = None
        case e.AttemptStarted():
            stopping = reader.attempts.get(body.attempt) is AttemptState.STOPPING
            to = AttemptState.STOPPING if stopping else AttemptState.RUNNING
            reader.attempt(seq, body.attempt, "AttemptStarted", to)
        case e.AttemptStopRequested():
            reader.attempt(seq, body.attempt, "AttemptStopRequested", AttemptState.STOPPING)
        case e.AttemptEnded():
            reader.attempt(seq, body.attempt, "AttemptEnded", _OUTCOMES[body.outcome])
        case e.AttemptLost():
            reader.attempt(seq, body.attempt, "AttemptLost", AttemptState.LOST)
        case _:
            pass


def of_jobs(control: Control, jobs: Sequence[JobId]) -> Iterator[str]:
    """What is wrong with jobs that should have ended, each with its reason."""
    for name in jobs:
        job = control.state.jobs.get(name)
        if job is None:
            yield f"{name} was submitted and is unknown"
        elif job.state not in JOB_ENDED:
            yield f"{name} is {job.state} for ever"
        elif job.reason is None or not job.ended_at or control.why(name, job.ended_at).reason != job.reason:
            yield f"{name} ended without a reason"
    for attempt in control.state.attempts.values():
        if attempt.state not in ATTEMPT_LIVE and attempt.reason is None:
            yield f"{attempt.attempt} ended without a reason"


def _replay(state: State, records: Sequence[Record], middle: int) -> Iterator[str]:
    from moyai.control.state import state_bytes

    fresh = State()
    replay(fresh, records[:middle])
    kept = state_from(state_bytes(fresh))
    replay(fresh, records[middle:])
    if state_hash(fresh) != state_hash(state):
        yield "replay from zero gives another state than control has"
    replay(kept, records[middle:])
    if state_hash(kept) != state_hash(state):
        yield f"a checkpoint at event {middle} and the events after it give another state"
