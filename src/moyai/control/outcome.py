"""What follows when an attempt ended or is presumed dead: the job ends, or goes back to the queue."""

from collections.abc import Sequence

from moyai.control.state import Attempt, Job, State
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.ids import AttemptId, SiteName, attempt_id
from moyai.model.lifecycle import ATTEMPT_LIVE, AttemptState, JobState
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant, after

BACKOFF_FIRST_US = 1_000_000
BACKOFF_MOST_US = 300_000_000

AT_ONCE = frozenset({Code.PREEMPTED, Code.MIGRATED, Code.SITE_LOST, Code.LEASE_EXPIRED})
"""Setbacks after which waiting helps nobody."""


def backoff_us(tries: int) -> int:
    """How long to wait before the next try, after `tries` in a row that went wrong: doubling from 1 s up to 5 min."""
    return min(BACKOFF_FIRST_US << min(max(tries - 1, 0), 20), BACKOFF_MOST_US)


def waits_until(job: Job, now: Instant) -> Instant:
    """Until when a job backs off; 0 where it doesn't.

    A time farther off than the longest backoff was written before control's clock was set back: it is due.
    """
    return job.not_before if 0 < job.not_before - now <= BACKOFF_MOST_US else Instant(0)


def after_end(job: Job, attempt: Attempt, outcome: e.Outcome, reason: Reason, now: Instant) -> tuple[Draft, ...]:
    """The decision about `job` once its `attempt` ended so; empty where the attempt no longer holds the fence."""
    if attempt.attempt != job.newest:
        return ()
    if attempt.state is AttemptState.LOST:  # a late word: only a success still settles a job that waits again
        late = outcome is e.Outcome.SUCCEEDED and job.state is JobState.PENDING
        return (_end(job, JobState.SUCCEEDED, reason),) if late else ()
    if outcome is e.Outcome.SUCCEEDED:
        return (_end(job, JobState.SUCCEEDED, reason),)
    if job.state is JobState.CANCELLING:
        return (_end(job, JobState.CANCELLED, Reason(Code.CANCELLED, subject=job.actor)),)
    return (_again_or_over(job, reason, now),)


def _again_or_over(job: Job, reason: Reason, now: Instant) -> Draft:
    if reason.code in e.INFRASTRUCTURE:
        wait = 0 if reason.code in AT_ONCE else backoff_us(job.setbacks + 1)
        return _requeue(job, after(now, wait), reason, own_failure=False)
    if reason.code is Code.ERASED or job.own_failures >= job.order.retries:
        return _end(job, JobState.FAILED, reason)
    return _requeue(job, after(now, backoff_us(job.own_failures + 1)), reason, own_failure=True)


def _end(job: Job, state: JobState, reason: Reason) -> Draft:
    return Draft(e.JobEnded(job.job, state, reason), Origin.DECIDED, job.tenant, job.project, cause=-1)


def _requeue(job: Job, not_before: Instant, reason: Reason, *, own_failure: bool) -> Draft:
    body = e.JobRequeued(job.job, not_before, reason, own_failure)
    return Draft(body, Origin.DECIDED, job.tenant, job.project, cause=-1)


def cancel_drafts(state: State, job: Job, actor: str) -> tuple[Draft, ...]:
    """What follows when a person wants a job's end; empty where it is over, or wanted already."""
    reason = Reason(Code.CANCELLED, subject=actor)
    if job.state is JobState.PENDING:
        body = e.JobEnded(job.job, JobState.CANCELLED, reason)
        return (Draft(body, Origin.OUTSIDE, job.tenant, job.project, actor),)
    if job.state is not JobState.ACTIVE:
        return ()
    drafts = [Draft(e.JobCancelRequested(job.job), Origin.OUTSIDE, job.tenant, job.project, actor)]
    attempt = state.attempts[attempt_id(job.job, job.attempts)]
    if attempt.state in ATTEMPT_LIVE and attempt.stop is None:
        body = e.AttemptStopRequested(attempt.attempt, reason)
        drafts.append(Draft(body, Origin.DECIDED, job.tenant, job.project, cause=-1))
    return tuple(drafts)


def lost_drafts(state: State, site: SiteName, attempts: Sequence[AttemptId], now: Instant) -> tuple[Draft, ...]:
    """What follows from a site's loss: its attempts are presumed dead and their jobs decided, transfers to it end."""
    reason = Reason(Code.SITE_LOST, subject=site)
    drafts: list[Draft] = []
    for name in attempts:
        job = state.jobs[state.attempts[name].job]
        drafts.append(Draft(e.AttemptLost(name, reason), Origin.DECIDED, job.tenant, job.project))
        if name == job.newest:
            if job.state is JobState.CANCELLING:
                drafts.append(_end(job, JobState.CANCELLED, Reason(Code.CANCELLED, subject=job.actor)))
            else:
                drafts.append(_requeue(job, now, reason, own_failure=False))
    for transfer_id in sorted(state.transfers):
        transfer = state.transfers[transfer_id]
        if transfer.target == site:
            drafts.append(Draft(e.TransferEnded(transfer_id, False, 0, 0, "the target was lost"), Origin.DECIDED))
    return tuple(drafts)
