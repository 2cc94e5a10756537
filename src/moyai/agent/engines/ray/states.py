"""What Ray says of a job, in our words. The one table from its states and errors to ours, unknown ones included."""

import logging

from moyai.agent.engines.batch.base import Job, Phase
from moyai.agent.engines.ray.rest import RayJob
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason

LOG = logging.getLogger("moyai.agent.ray")

PHASES = {
    "PENDING": Phase.QUEUED,
    "RUNNING": Phase.RUNNING,
    "SUCCEEDED": Phase.ENDED,
    "FAILED": Phase.ENDED,
    "STOPPED": Phase.ENDED,
}
"""A state that isn't here counts as running: its guards say how it ends."""

NEVER_RAN = frozenset(
    {
        "RUNTIME_ENV_SETUP_FAILURE",
        "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        "JOB_SUPERVISOR_ACTOR_START_FAILURE",
        "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
    }
)
"""Errors before the entrypoint was run. A queue of more than RAY_JOB_START_TIMEOUT_SECONDS (900) is the second."""
BY_ITSELF = "JOB_ENTRYPOINT_COMMAND_ERROR"


def job_of(ray: RayJob, attempt: AttemptId, *, unwanted: bool = False) -> Job:
    """The job of an attempt as Ray tells it. `unwanted`: Ray was told to stop it.

    Ray does so only once the job got its room, but nothing of it runs then: no start of it is granted any more.
    """
    phase = PHASES.get(ray.status)
    if phase is None:
        LOG.warning("%s is %s in Ray, a state that this version doesn't know: taken for running", attempt, ray.status)
        phase = Phase.RUNNING
    state = ray.status if not ray.error_type else f"{ray.status} {ray.error_type}"
    if phase is Phase.QUEUED and unwanted:
        return Job(attempt, attempt, Phase.ENDED, state, Reason(Code.CANCELLED, detail="it waited in Ray's queue"))
    if phase is not Phase.ENDED:
        return Job(attempt, attempt, phase, state)
    reason, suspect = _reason(ray)
    run_us = max(0, (ray.end_time or 0) - (ray.start_time or 0)) * 1_000 if ray.end_time else 0
    return Job(attempt, attempt, phase, state, reason, _exit_code(ray), suspect, run_us)


def _reason(ray: RayJob) -> tuple[Reason | None, bool]:
    """Why Ray ended it, None where it ended by itself; and whether something of it may be alive.

    What Ray ends is the entrypoint: a guard has a session of its own, and one that left no word may go on.
    """
    detail = _first_line(ray.message)
    if ray.status == "SUCCEEDED":
        return None, False
    if ray.status == "STOPPED":
        return Reason(Code.CANCELLED, detail="it was stopped in Ray"), True
    if ray.error_type == BY_ITSELF:
        return None, True
    if ray.error_type in NEVER_RAN:
        return Reason(Code.LAUNCH_FAILED, detail=detail), False
    return Reason(Code.SUPERVISOR_LOST, detail=detail), True  # its supervisor died, or nobody knows


def _exit_code(ray: RayJob) -> int | None:
    """Ray gives a signal as a negative number."""
    code = ray.driver_exit_code
    return code if code is None or code >= 0 else 128 - code


def _first_line(message: str | None) -> str:
    return next((line for line in (message or "").splitlines() if line.strip()), "")[:300]
