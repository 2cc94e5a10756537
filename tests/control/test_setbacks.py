"""What the twin found: a clock that is set back, and transfers that fail again."""

from control.fleet import World, ended
from moyai.model import events as e
from moyai.model.commands import Fetch
from moyai.model.ids import AttemptId, ManifestId, SiteName
from moyai.model.lifecycle import AttemptState
from moyai.model.reasons import Code
from moyai.model.units import Instant
from moyai.model.workload import CheckpointRule
from moyai.plan.types import Plan, Preemption

HOUR_US = 3_600_000_000


def test_a_backoff_does_not_outlast_a_clock_that_was_set_back() -> None:
    world = World()
    job = world.submit("flaky", retries=1)
    world.report("tokyo", ended(world.run(job, "tokyo"), e.Outcome.FAILED, found=1))
    held = world.control.state.jobs[job]
    assert held.not_before > world.now
    world.now = Instant(world.now - HOUR_US)
    assert world.control.snapshot(world.now)[1][0].not_before == 0
    assert world.control.why(job, world.now).reason.code is not Code.BACKOFF
    world.wait(1)
    assert world.control.needs_plan
    assert world.place(job, "tokyo").endswith(".2")


def test_each_attempt_may_fail_as_many_transfers_as_the_one_before() -> None:
    world = World()
    job = world.submit("train", checkpoint=CheckpointRule())
    first = world.run(job, "ishikari")
    checkpoint = ManifestId("c" * 64)
    world.report("ishikari", e.CheckpointCompleted(first, "step-1", checkpoint, 1_000, 5_000_000))
    world.report("ishikari", ended(first, e.Outcome.FAILED, Code.SUPERVISOR_LOST))

    def fail_a_transfer(attempt: AttemptId) -> None:
        [fetch] = [n.command for n in world.control.commands(SiteName("tokyo"), 0, 10**9) if n.kind == "Fetch"]
        assert isinstance(fetch, Fetch)
        assert world.control.state.attempts[attempt].state is AttemptState.ISSUED
        world.report("tokyo", e.TransferEnded(fetch.transfer, False, 0, 1, "no answer"))

    for fetch in [n.command for n in world.control.commands(SiteName("fukuoka"), 0, 10**9) if n.kind == "Fetch"]:
        assert isinstance(fetch, Fetch)
        world.report("fukuoka", e.TransferEnded(fetch.transfer, True, 1_000, 1, ""))
    for _ in range(2):
        world.now = Instant(max(world.now, world.control.state.jobs[job].not_before))
        attempt = world.place(job, "tokyo", restore=checkpoint, covered_us=5_000_000)
        for _ in range(3):
            fail_a_transfer(attempt)
        stop = world.control.state.attempts[attempt].stop
        assert stop is not None
        assert stop.code is Code.DATA_LOST
        world.report("tokyo", ended(attempt, e.Outcome.STOPPED, Code.DATA_LOST))


def test_a_job_keeps_away_for_a_while_from_a_site_whose_own_engine_preempted_it() -> None:
    world = World()
    job = world.submit("guest", checkpoint=CheckpointRule())
    world.report("tokyo", ended(world.run(job, "tokyo"), e.Outcome.STOPPED, Code.PREEMPTED))
    assert world.control.snapshot(world.now)[1][0].avoid == ("tokyo",)
    world.now = Instant(world.now + 61_000_000)
    assert world.control.snapshot(world.now)[1][0].avoid == ()


def test_a_job_that_control_itself_preempted_may_go_back_at_once() -> None:
    world = World()
    job = world.submit("train", checkpoint=CheckpointRule())
    attempt = world.run(job, "tokyo")
    urgent = world.submit("urgent", priority=9)
    plan = Plan(world.control.state.seq, world.now, preemptions=(Preemption(attempt, urgent),))
    world.keep(world.control.planned(plan, world.now))
    world.report("tokyo", ended(attempt, e.Outcome.STOPPED, Code.PREEMPTED))
    assert all(queued.avoid == () for queued in world.control.snapshot(world.now)[1])
