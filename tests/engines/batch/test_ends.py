"""What guards say and what the scheduler says, joined into one end."""

import pytest

from agent.site import launch
from moyai.agent.engines.batch.base import Job, Phase
from moyai.agent.engines.batch.ends import RankSeen, end_by_guards, end_by_job, joined, settled
from moyai.agent.engines.batch.run import Run
from moyai.agent.messages import Began, Over, RankEnd
from moyai.model.events import Outcome
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason

A = AttemptId("a.1")


def over(
    rank: int = 0, status: int = 0, cause: str = "exit", *, signalled: int = 0, at: int = 1_000, oom: bool = False
) -> Over:
    return Over("a.1", "n", cause, "", signalled, 500, at, RankEnd(rank, status, 5, 6, oom, 7, 0))


def seen(*overs: Over) -> dict[int, RankSeen]:
    began = Began("a.1", "n", 0, "n1", "b", 10, 20, 0)
    return {o.end.rank: RankSeen(began, 10, o) for o in overs}


def job(code: Code | None = None, exit_code: int | None = 0, **more: object) -> Job:
    reason = None if code is None else Reason(code, detail="Slurm says so")
    return Job(A, "7", Phase.ENDED, "STATE", reason, exit_code, **more)


def verdict(
    ranks: dict[int, RankSeen], there: Job | None, *, stopped: bool = False, asked: bool = False
) -> tuple[str, str, int]:
    end = end_by_guards(launch("a.1", nodes=len(ranks)), ranks, there, stopped=stopped, asked=asked)
    return end.outcome.value, end.reason.code.value, end.reason.found


@pytest.mark.parametrize(
    ("overs", "there", "expected"),
    [
        ([over()], None, ("succeeded", "exit", 0)),
        ([over(status=3 << 8)], job(None, 3), ("failed", "exit", 3)),
        ([over(status=9)], job(Code.OUT_OF_MEMORY), ("failed", "out-of-memory", 0)),
        ([over(status=9, oom=True)], job(Code.OUT_OF_MEMORY), ("failed", "out-of-memory", 6)),
        ([over(status=15, signalled=15)], job(Code.PREEMPTED), ("stopped", "preempted", 0)),
        ([over(signalled=15)], job(Code.PREEMPTED), ("stopped", "preempted", 0)),
        ([over(signalled=15)], job(None), ("succeeded", "exit", 0)),
        ([over(signalled=15)], None, ("stopped", "preempted", 0)),
        ([over(cause="limit", status=15)], job(Code.CANCELLED), ("stopped", "time-limit", 500)),
        ([over(cause="lease", status=9)], None, ("stopped", "lease-expired", 0)),
        ([over(cause="launch", status=127 << 8)], None, ("failed", "launch-failed", 0)),
        ([over(0, at=9, cause="stop", status=15), over(1, 4 << 8)], job(None), ("failed", "exit", 4)),
        ([over(0, 2 << 8, at=9), over(1, 4 << 8, at=8)], job(None), ("failed", "exit", 4)),
    ],
)
def test_the_guards_word_and_the_schedulers(
    overs: list[Over], there: Job | None, expected: tuple[str, str, int]
) -> None:
    assert verdict(seen(*overs), there) == expected


def test_a_stop_that_the_agent_asked_for_is_one_whichever_way_the_signal_came() -> None:
    assert verdict(seen(over(status=15, signalled=15)), job(Code.CANCELLED), stopped=True)[:2] == (
        "stopped",
        "cancelled",
    )
    assert settled(seen(over(signalled=15)), stopped=True)


def test_that_we_had_the_rest_cancelled_is_no_reason() -> None:
    ranks = seen(over(0, 4 << 8), over(1, 15, cause="stop"))
    assert verdict(ranks, job(Code.CANCELLED), asked=True) == ("failed", "exit", 4)
    assert verdict(ranks, job(Code.CANCELLED)) == ("stopped", "cancelled", 0)


def test_the_sum_of_all_ranks() -> None:
    ended = joined(seen(over(0), over(1, at=2_000)), stopped=False)
    assert (ended.cause, ended.first, ended.run_us, ended.ended_wall_us, len(ended.ranks)) == (
        "exit",
        -1,
        500,
        2_000,
        2,
    )


@pytest.mark.parametrize(
    ("there", "nonce", "expected"),
    [
        (job(None, 0), "n", (Outcome.SUCCEEDED, Code.EXIT)),
        (job(None, 3), "n", (Outcome.FAILED, Code.EXIT)),
        (job(None, 137), "n", (Outcome.FAILED, Code.SIGNAL)),
        (job(None, 76), "n", (Outcome.STOPPED, Code.LEASE_EXPIRED)),
        (job(None, None), "n", (Outcome.FAILED, Code.SUPERVISOR_LOST)),
        (job(Code.OUT_OF_MEMORY, 0), "n", (Outcome.FAILED, Code.OUT_OF_MEMORY)),
        (job(None, 75), "", (Outcome.FAILED, Code.START_REFUSED)),
        (job(None, 0), "", (Outcome.FAILED, Code.LAUNCH_FAILED)),
        (job(None, 127), "", (Outcome.FAILED, Code.LAUNCH_FAILED)),
        (job(Code.PREEMPTED, 0), "", (Outcome.STOPPED, Code.PREEMPTED)),
    ],
)
def test_without_a_word_of_the_guards(there: Job, nonce: str, expected: tuple[Outcome, Code]) -> None:
    end = end_by_job(launch("a.1"), there, nonce, said="python3: not found", title="Slurm")
    assert (end.outcome, end.reason.code) == expected
    assert end.nonce == nonce


def test_a_rank_that_is_not_of_the_start_that_has_the_claim_counts_for_nothing() -> None:
    run = Run(launch("a.1", nodes=2), "n")
    assert run.see(over(0), heard=True)
    assert not run.see(over(0, 3 << 8), heard=True)
    assert not run.see(over(2), heard=True)
    assert not run.see(over(1)._replace(nonce="other"), heard=True)
    assert not run.all_over
    assert run.see(over(1), heard=False)
    assert run.all_over


def test_an_attempt_runs_once_all_its_ranks_do() -> None:
    run = Run(launch("a.1", nodes=2), "n")
    first = Began("a.1", "n", 0, "n1", "elsewhere", 1, 1_000, 5_000)
    assert run.see(first, heard=True)
    assert run.begun() is None
    assert run.see(first._replace(rank=1, node="n2", began_wall_us=2_000), heard=True)
    begun = run.begun()
    assert begun is not None
    assert (begun.at, begun.nodes) == (2_000, ("n1", "n2"))
    assert begun.since_us > 1_000
