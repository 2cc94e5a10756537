"""Slurm's job states in our words: the one table, for every state that Slurm 20.11 to 24.11 knows."""

from moyai.agent.engines.batch.base import Phase
from moyai.model.reasons import Code, Reason

PHASES = {
    "PENDING": Phase.QUEUED,
    "CONFIGURING": Phase.QUEUED,
    "REQUEUED": Phase.QUEUED,
    "REQUEUE_FED": Phase.QUEUED,
    "REQUEUE_HOLD": Phase.QUEUED,
    "SPECIAL_EXIT": Phase.QUEUED,
    "RESV_DEL_HOLD": Phase.QUEUED,
    "RUNNING": Phase.RUNNING,
    "COMPLETING": Phase.RUNNING,  # something of it may still be alive
    "RESIZING": Phase.RUNNING,
    "SIGNALING": Phase.RUNNING,
    "STAGE_OUT": Phase.RUNNING,
    "STOPPED": Phase.RUNNING,
    "SUSPENDED": Phase.RUNNING,
    "EXPEDITING": Phase.QUEUED,
    "POWER_UP_NODE": Phase.QUEUED,
    "COMPLETED": Phase.ENDED,
    "FAILED": Phase.ENDED,
    "CANCELLED": Phase.ENDED,
    "TIMEOUT": Phase.ENDED,
    "DEADLINE": Phase.ENDED,
    "PREEMPTED": Phase.ENDED,
    "OUT_OF_MEMORY": Phase.ENDED,
    "NODE_FAIL": Phase.ENDED,
    "BOOT_FAIL": Phase.ENDED,
    "LAUNCH_FAILED": Phase.ENDED,
    "RECONFIG_FAIL": Phase.ENDED,
    "REVOKED": Phase.ENDED,
}
"""state → where it stands. One that isn't here counts as running: nothing is presumed to be over."""

_REASONS = {
    "CANCELLED": Code.CANCELLED,
    "TIMEOUT": Code.TIME_LIMIT,
    "DEADLINE": Code.TIME_LIMIT,
    "PREEMPTED": Code.PREEMPTED,
    "OUT_OF_MEMORY": Code.OUT_OF_MEMORY,
    "NODE_FAIL": Code.SUPERVISOR_LOST,
    "BOOT_FAIL": Code.LAUNCH_FAILED,
    "LAUNCH_FAILED": Code.LAUNCH_FAILED,
    "RECONFIG_FAIL": Code.LAUNCH_FAILED,
    "REVOKED": Code.ENGINE_FORGOT,
}
"""Ended state → our code. COMPLETED and FAILED are the job's own: its exit says more."""

SUSPECT = frozenset({"NODE_FAIL"})
"""Slurm gave the job up, and has not seen it dead."""


def phase(state: str) -> Phase:
    """Where a job stands."""
    return PHASES.get(state, Phase.RUNNING)


def reason(state: str, detail: str, *, preempted: bool, limit_us: int = 0, memory_bytes: int = 0) -> Reason | None:
    """Why Slurm ended a job; None where it ended by itself, or has not ended.

    `preempted`: whether Slurm took its place away. A job that leaves within its grace then is COMPLETED or FAILED.
    """
    if phase(state) is not Phase.ENDED:
        return None
    code = _REASONS.get(state)
    if preempted and code in (None, Code.CANCELLED):
        code = Code.PREEMPTED
    if code is None:
        return None
    words = f"Slurm says {state}" + (f" ({detail})" if detail and detail != "None" else "")
    match code:
        case Code.CANCELLED:
            return Reason(code, subject="Slurm", detail=words)
        case Code.PREEMPTED:
            return Reason(code, subject="another job in Slurm", detail=words)
        case Code.TIME_LIMIT:
            return Reason(code, detail=words, wanted=limit_us)
        case Code.OUT_OF_MEMORY:
            return Reason(code, detail=words, wanted=memory_bytes)
        case _:
            return Reason(code, detail=words)
