"""One row for each job of a replay, from control's own books."""

from collections.abc import Collection

from moyai.control.state import Attempt, Job, State
from moyai.model.ids import JobId
from moyai.model.lifecycle import JOB_ENDED, AttemptState, JobState
from moyai.model.reasons import Code
from moyai.twin.replay.outcome import JobRow
from moyai.twin.replay.setup import Arrival, Setup


def job_rows(setup: Setup, state: State, rejected: Collection[JobId]) -> tuple[JobRow, ...]:
    """The rows, in the order of the arrivals."""
    tries: dict[JobId, list[Attempt]] = {}
    for attempt in state.attempts.values():
        tries.setdefault(attempt.job, []).append(attempt)
    rows: list[JobRow] = []
    for arrival in setup.arrivals:
        job_id = arrival.job
        job = state.jobs.get(job_id)
        mine = sorted(tries.get(job_id, ()), key=lambda a: a.ordinal)
        rows.append(_row(setup, arrival, job, mine, rejected=job_id in rejected))
    return tuple(rows)


def _row(setup: Setup, arrival: Arrival, job: Job | None, tries: list[Attempt], *, rejected: bool) -> JobRow:
    order, began = arrival.order, setup.began
    starts = [a.started_at for a in tries if a.started_at]
    ended = job is not None and job.state in JOB_ENDED
    return JobRow(
        job=arrival.job,
        tenant=arrival.tenant,
        accelerators=order.nodes * order.need.accelerators,
        nodes=order.nodes,
        submitted_us=arrival.at_us,
        started_us=min(starts) - began if starts else None,
        ended_us=job.ended_at - began if job is not None and ended else None,
        deadline_us=None if order.deadline is None else order.deadline - began,
        succeeded=job is not None and job.state is JobState.SUCCEEDED,
        site=tries[-1].site if tries else None,
        attempts=len(tries),
        preemptions=sum(_preempted(a) for a in tries),
        run_us=sum(a.run_us for a in tries),
        lost_us=_lost_us(job, tries),
        moved_bytes=job.moved_bytes if job is not None else 0,
        cost_micro_yen=sum(a.cost_micro_yen for a in tries) + (job.egress_micro_yen if job is not None else 0),
        energy_j=sum(a.energy_j for a in tries),
        carbon_mg=sum(a.carbon_mg for a in tries),
        rejected=rejected,
    )


def _preempted(attempt: Attempt) -> bool:
    stopped = attempt.state is AttemptState.STOPPED and attempt.stop is not None
    return stopped and attempt.stop is not None and attempt.stop.code is Code.PREEMPTED


def _lost_us(job: Job | None, tries: list[Attempt]) -> int:
    """Run time beyond what its result took: all of it where it failed, what no checkpoint kept where it goes on."""
    ran = sum(a.run_us for a in tries)
    if job is None or not tries:
        return 0
    if job.state is JobState.SUCCEEDED:
        last = next((a for a in reversed(tries) if a.state is AttemptState.SUCCEEDED), tries[-1])
        return max(0, ran - last.covered_us - last.run_us)
    if job.state in JOB_ENDED:
        return ran
    return max(0, ran - max((c.covered_us for c in job.checkpoints), default=0))
