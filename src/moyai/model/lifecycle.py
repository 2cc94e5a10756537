"""The states of an attempt and of a job, and every move between them. The one table: code, tests and docs read it."""

from enum import StrEnum


class AttemptState(StrEnum):
    """Where one try to run a job stands."""

    ISSUED = "issued"  # control told the site; nothing known to run
    RUNNING = "running"  # all ranks run
    STOPPING = "stopping"  # control asked for its end
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # it ended by itself, badly, or never started
    STOPPED = "stopped"  # it ended because control, a limit or its guard asked
    LOST = "lost"  # its site is gone and its lease is over; a late report may still settle what became of it


class JobState(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    ACTIVE = "active"  # an attempt is under way
    CANCELLING = "cancelling"  # a person asked for its end, and an attempt is still under way
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WorkflowState(StrEnum):
    """Where a workflow stands."""

    ACTIVE = "active"  # tasks wait or run
    CANCELLING = "cancelling"  # a person asked for its end, and a task still runs
    SUCCEEDED = "succeeded"  # every task did
    FAILED = "failed"
    CANCELLED = "cancelled"


ATTEMPT_LIVE = frozenset({AttemptState.ISSUED, AttemptState.RUNNING, AttemptState.STOPPING})
ATTEMPT_ENDED = frozenset({AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.STOPPED})
JOB_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
WORKFLOW_ENDED = frozenset({WorkflowState.SUCCEEDED, WorkflowState.FAILED, WorkflowState.CANCELLED})

_A, _J = AttemptState, JobState

ATTEMPT_MOVES: dict[tuple[AttemptState | None, str], tuple[AttemptState, ...]] = {
    (None, "AttemptIssued"): (_A.ISSUED,),
    (_A.ISSUED, "AttemptStarted"): (_A.RUNNING,),
    (_A.STOPPING, "AttemptStarted"): (_A.STOPPING,),
    (_A.ISSUED, "AttemptStopRequested"): (_A.STOPPING,),
    (_A.RUNNING, "AttemptStopRequested"): (_A.STOPPING,),
    (_A.ISSUED, "AttemptEnded"): (_A.SUCCEEDED, _A.FAILED, _A.STOPPED),
    (_A.RUNNING, "AttemptEnded"): (_A.SUCCEEDED, _A.FAILED, _A.STOPPED),
    (_A.STOPPING, "AttemptEnded"): (_A.SUCCEEDED, _A.FAILED, _A.STOPPED),
    (_A.ISSUED, "AttemptLost"): (_A.LOST,),
    (_A.RUNNING, "AttemptLost"): (_A.LOST,),
    (_A.STOPPING, "AttemptLost"): (_A.LOST,),
    (_A.LOST, "AttemptEnded"): (_A.SUCCEEDED, _A.FAILED, _A.STOPPED),
}
"""(state, event) → the states it may lead to. What is not here can't happen."""

JOB_MOVES: dict[tuple[JobState | None, str], tuple[JobState, ...]] = {
    (None, "JobSubmitted"): (_J.PENDING,),
    (_J.PENDING, "AttemptIssued"): (_J.ACTIVE,),
    (_J.ACTIVE, "JobCancelRequested"): (_J.CANCELLING,),
    (_J.ACTIVE, "JobRequeued"): (_J.PENDING,),
    (_J.PENDING, "JobEnded"): (_J.SUCCEEDED, _J.FAILED, _J.CANCELLED),
    (_J.ACTIVE, "JobEnded"): (_J.SUCCEEDED, _J.FAILED),
    (_J.CANCELLING, "JobEnded"): (_J.SUCCEEDED, _J.FAILED, _J.CANCELLED),
}
"""The same for jobs. A pending job succeeds when its lost attempt, still the newest, reports that it did."""

_W = WorkflowState
WORKFLOW_MOVES: dict[tuple[WorkflowState | None, str], tuple[WorkflowState, ...]] = {
    (None, "WorkflowSubmitted"): (_W.ACTIVE,),
    (_W.ACTIVE, "WorkflowCancelRequested"): (_W.CANCELLING,),
    (_W.ACTIVE, "WorkflowEnded"): (_W.SUCCEEDED, _W.FAILED),
    (_W.CANCELLING, "WorkflowEnded"): (_W.SUCCEEDED, _W.CANCELLED),
}
"""The same for workflows. One that is being cancelled succeeds when its last tasks had ended well by then."""
