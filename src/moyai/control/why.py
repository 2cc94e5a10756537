"""`why`: the reason for where a job stands, with every candidate site beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

from moyai.control.outcome import waits_until
from moyai.control.state import Job, State
from moyai.model.ids import JobId
from moyai.model.lifecycle import JOB_ENDED, JobState
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.units import Instant
from moyai.plan.types import Plan, Planned, Waiting


@dataclass(frozen=True, slots=True)
class Why:
    """Where a job stands and why; `considered` is of its newest placement, or of the newest plan while it waits."""

    job: JobId
    reason: Reason
    considered: tuple[Considered, ...]
    start: Instant | None = None  # planned, while it waits
    site: str = ""


class Outlook:
    """The newest plan, looked up by job."""

    __slots__ = ("_planned", "_waiting")

    def __init__(self, plan: Plan | None = None) -> None:
        self._planned: Mapping[JobId, Planned] = {p.job: p for p in plan.placements} if plan else {}
        self._waiting: Mapping[JobId, Waiting] = {w.job: w for w in plan.waiting} if plan else {}

    def of(self, job: JobId) -> Planned | Waiting | None:
        """What the plan says of a job."""
        return self._planned.get(job) or self._waiting.get(job)


def why(state: State, outlook: Outlook, job: Job, now: Instant) -> Why:
    """The reasons of `job`, ended, active or waiting."""
    newest = state.attempts[job.newest] if job.newest else None
    if job.state is not JobState.PENDING and newest is not None:
        reason = job.reason if job.state in JOB_ENDED and job.reason else Reason(Code.CHOSEN, subject=newest.site)
        if job.state not in JOB_ENDED and not state.sites[newest.site].reachable:
            reason = Reason(Code.UNREACHABLE, subject=newest.site)
        return Why(job.job, reason, newest.placement.considered, site=newest.site)
    if job.state in JOB_ENDED:
        return Why(job.job, job.reason or Reason(Code.UNPLANNED), ())
    said = outlook.of(job.job)
    if waits_until(job, now):
        reason = Reason(Code.BACKOFF, subject=job.reason.code if job.reason else "", found=job.not_before - now)
        return Why(job.job, reason, _rows(said), start=job.not_before)
    match said:
        case Planned():
            start = said.placement.start
            return Why(
                job.job,
                Reason(Code.CAPACITY, subject=said.placement.site, found=max(0, start - now)),
                said.placement.considered,
                start=start,
                site=said.placement.site,
            )
        case Waiting():
            return Why(job.job, said.reason, said.considered)
        case None:
            return Why(job.job, Reason(Code.UNPLANNED), ())


def _rows(said: Planned | Waiting | None) -> tuple[Considered, ...]:
    match said:
        case Planned():
            return said.placement.considered
        case Waiting():
            return said.considered
        case None:
            return ()
