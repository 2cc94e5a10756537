"""The table from Ray's states to ours."""

import pytest

from moyai.agent.engines.batch.base import Phase
from moyai.agent.engines.ray.rest import RayJob
from moyai.agent.engines.ray.states import job_of
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code


@pytest.mark.parametrize(
    ("job", "phase", "reason", "exit_code", "suspect"),
    [
        (RayJob("PENDING"), Phase.QUEUED, None, None, False),
        (RayJob("RUNNING"), Phase.RUNNING, None, None, False),
        (RayJob("HIBERNATING"), Phase.RUNNING, None, None, False),
        (RayJob("SUCCEEDED", driver_exit_code=0), Phase.ENDED, None, 0, False),
        (RayJob("FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=3), Phase.ENDED, None, 3, True),
        (
            RayJob("FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=-9),
            Phase.ENDED,
            None,
            137,
            True,
        ),
        (
            RayJob("FAILED", error_type="RUNTIME_ENV_SETUP_FAILURE"),
            Phase.ENDED,
            Code.LAUNCH_FAILED,
            None,
            False,
        ),
        (
            RayJob("FAILED", error_type="JOB_SUPERVISOR_ACTOR_START_TIMEOUT"),
            Phase.ENDED,
            Code.LAUNCH_FAILED,
            None,
            False,
        ),
        (RayJob("FAILED", error_type="JOB_SUPERVISOR_ACTOR_DIED"), Phase.ENDED, Code.SUPERVISOR_LOST, None, True),
        (
            RayJob("FAILED", error_type="JOB_ENTRYPOINT_COMMAND_START_ERROR"),  # Ray says so of a broken stop as well
            Phase.ENDED,
            Code.SUPERVISOR_LOST,
            None,
            True,
        ),
        (RayJob("FAILED", error_type="SOMETHING_NEW"), Phase.ENDED, Code.SUPERVISOR_LOST, None, True),
        (RayJob("FAILED"), Phase.ENDED, Code.SUPERVISOR_LOST, None, True),
        (RayJob("STOPPED"), Phase.ENDED, Code.CANCELLED, None, True),
    ],
)
def test_every_state_has_its_words(
    job: RayJob, phase: Phase, reason: Code | None, exit_code: int | None, suspect: bool
) -> None:
    told = job_of(job, AttemptId("a.1"))
    assert (told.attempt, told.phase, told.exit_code, told.suspect) == ("a.1", phase, exit_code, suspect)
    assert (told.reason.code if told.reason else None) == reason


def test_its_message_and_its_time_are_kept() -> None:
    job = RayJob(
        "FAILED",
        error_type="JOB_SUPERVISOR_ACTOR_DIED",
        message="\nthe node is gone\nmore",
        start_time=1_000,
        end_time=3_500,
    )
    told = job_of(job, AttemptId("a.1"))
    assert told.reason is not None
    assert told.reason.detail == "the node is gone"
    assert told.run_us == 2_500_000
    assert told.state == "FAILED JOB_SUPERVISOR_ACTOR_DIED"


def test_one_that_waits_and_is_not_wanted_is_over() -> None:
    assert job_of(RayJob("PENDING"), AttemptId("a.1"), unwanted=True).phase is Phase.ENDED
    assert job_of(RayJob("RUNNING"), AttemptId("a.1"), unwanted=True).phase is Phase.RUNNING
