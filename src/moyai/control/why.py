"""`why`: the reason for where a job stands, with every candidate site beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from moyai.control.estimates import Estimate, estimate
from moyai.control.outcome import waits_until
from moyai.control.state import Job, State
from moyai.control.workflows import waits_for
from moyai.model.ids import JobId
from moyai.model.lifecycle import JOB_ENDED, JobState
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.units import Instant, after
from moyai.plan.types import Plan, Planned, Waiting


@dataclass(frozen=True, slots=True)
class Why:
    """Where a job stands and why; `considered` is of its newest placement, or of the newest plan while it waits."""

    job: JobId
    reason: Reason
    considered: tuple[Considered, ...]
    start: Instant | None = None  # while it waits: the earliest, if nothing else comes
    site: str = ""
    awaits: str = ""  # the job whose end this start awaits
    expects: Estimate | None = None  # of its whole run, as long as it hasn't ended


class Outlook:
    """The newest plan, looked up by job."""

    __slots__ = ("_later", "_planned", "_waiting", "made_at")

    def __init__(self, plan: Plan | None = None) -> None:
        self.made_at = plan.now if plan else Instant(0)
        self._later = plan.later if plan else None
        self._planned: Mapping[JobId, Planned] = {p.job: p for p in plan.placements} if plan else {}
        self._waiting: Mapping[JobId, Waiting] = {w.job: w for w in plan.waiting} if plan else {}

    def of(self, job: JobId) -> Planned | Waiting | None:
        """What the plan says of a job."""
        known = self._planned.get(job) or self._waiting.get(job)
        return known or (self._later.of(job) if self._later is not None else None)


def why(state: State, outlook: Outlook, job: Job, now: Instant) -> Why:
    """The reasons of `job`, ended, active or waiting."""
    found = _why(state, outlook, job, now)
    return found if job.state in JOB_ENDED else replace(found, expects=estimate(state, job))


def _why(state: State, outlook: Outlook, job: Job, now: Instant) -> Why:
    newest = state.attempts[job.newest] if job.newest else None
    if job.state is not JobState.PENDING and newest is not None:
        reason = job.reason if job.state in JOB_ENDED and job.reason else Reason(Code.CHOSEN, subject=newest.site)
        if job.state not in JOB_ENDED and not state.sites[newest.site].reachable:
            reason = Reason(Code.UNREACHABLE, subject=newest.site)
        return Why(job.job, reason, newest.placement.considered, site=newest.site)
    if job.state in JOB_ENDED:
        return Why(job.job, job.reason or Reason(Code.UNPLANNED), ())
    if (blocked := waits_for(state, job)) is not None:
        return Why(job.job, blocked, ())
    said = outlook.of(job.job)
    if waits_until(job, now):
        reason = Reason(Code.BACKOFF, subject=job.reason.code if job.reason else "", found=job.not_before - now)
        return Why(job.job, reason, _rows(said), start=job.not_before)
    match said:
        case Planned():
            start, rows, site = said.placement.start, said.placement.considered, said.placement.site
            awaits = next((r.reason.detail for r in rows if r.reason.code is Code.CHOSEN), "")
            reason = Reason(Code.CAPACITY, subject=site, detail=awaits, found=max(0, start - now))
            return Why(job.job, reason, rows, start, site, awaits)
        case Waiting():
            if said.reason.code is not Code.CAPACITY:
                return Why(job.job, said.reason, said.considered)
            start = after(outlook.made_at, said.reason.found)
            reason = replace(said.reason, found=max(0, start - now))
            return Why(job.job, reason, said.considered, start, reason.subject, reason.detail)
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
