"""Moves of running jobs to cheaper sites, as control decides and remembers them."""

from dataclasses import replace

from control.fleet import World
from moyai.control import requests as r
from moyai.model import events as e
from moyai.model.ids import AttemptId, ManifestId
from moyai.model.lifecycle import JobState
from moyai.model.reasons import Code
from moyai.model.units import Instant
from moyai.model.workload import CheckpointRule
from moyai.plan.place import plan
from moyai.plan.types import Policy

HOUR = 3_600_000_000
POLICY = Policy(migrations_per_round=2, exact_below_cells=0)
RULE = CheckpointRule("SIGUSR1", "SIGTERM", 10_000_000)


def long_run(world: World) -> AttemptId:
    """A job that ran an hour of its ten at Tokyo, with a checkpoint there and at another site."""
    job = world.submit("train", checkpoint=RULE, expect_us=10 * HOUR)
    snapshot, queue = world.control.snapshot(world.now)
    made = plan(snapshot, queue, world.now, POLICY)
    placed = made.placements[0]
    world.keep(world.control.planned(replace(made, placements=(placed,)), world.now))
    attempt = world.control.state.jobs[job].newest
    assert attempt is not None
    site = world.control.state.attempts[attempt].site
    world.report(site, e.AttemptStarted(attempt, world.now, ()))
    world.now = Instant(world.now + HOUR)
    world.report(site, e.CheckpointCompleted(attempt, "step-1", ManifestId("m" * 64), 1_000, HOUR))
    for transfer in list(world.control.state.transfers.values()):
        world.report(transfer.target, e.TransferEnded(transfer.transfer, True, transfer.size_bytes, 5, ""))
    return attempt


def dearer(world: World, attempt: AttemptId) -> None:
    """Electricity gets very dear where it runs."""
    site = world.control.state.attempts[attempt].site
    world.ask(r.ChangeSignal("op", site, e.Signal.PRICE, 900_000_000))


def test_a_job_is_moved_when_its_site_gets_dear_and_goes_on_from_its_checkpoint() -> None:
    world = World()
    attempt = long_run(world)
    assert world.control.migrate(world.now, POLICY) == ()
    dearer(world, attempt)
    (record,) = world.keep(world.control.migrate(world.now, POLICY))
    assert isinstance(record.body, e.AttemptStopRequested)
    assert record.body.reason.code is Code.MIGRATED
    assert record.body.reason.found > 0
    assert world.control.migrate(world.now, POLICY) == ()  # it goes already
    held = world.control.state.attempts[attempt]
    stopped = e.AttemptEnded(
        attempt, e.Outcome.STOPPED, record.body.reason, world.now, world.now, HOUR, HOUR, 10, True, 1
    )
    world.report(held.site, stopped)
    job = world.control.state.jobs[held.job]
    assert job.state is JobState.PENDING
    snapshot, queue = world.control.snapshot(world.now)
    (again,) = plan(snapshot, queue, world.now, POLICY).placements
    assert again.placement.site != held.site
    assert again.covered_us == HOUR


def test_nothing_is_moved_while_a_job_waits_or_where_the_policy_says_no() -> None:
    world = World()
    attempt = long_run(world)
    dearer(world, attempt)
    assert world.control.migrate(world.now, Policy()) == ()
    world.submit("waits")
    assert world.control.migrate(world.now, POLICY) == ()


def test_one_that_has_just_begun_is_left_alone() -> None:
    world = World()
    attempt = long_run(world)
    dearer(world, attempt)
    assert world.control.migrate(world.now, replace(POLICY, migrate_after_us=2 * HOUR)) == ()
