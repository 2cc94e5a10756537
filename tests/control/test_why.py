"""What `why` says of a job that waits: its earliest start, what that awaits, and how long it is expected to run."""

from control.fleet import World, ended
from moyai.control import requests as r
from moyai.control.estimates import DEFAULT_RUN_US, Estimate, Source
from moyai.control.why import Outlook, why
from moyai.model.ids import JobId, SiteName
from moyai.model.lifecycle import JobState
from moyai.model.reasons import Code, Reason
from moyai.plan.place import plan
from moyai.plan.types import Plan, Policy

SECOND = 1_000_000
POLICY = Policy(exact_below_cells=0)


def planned(world: World, policy: Policy = POLICY) -> Plan:
    """A real plan, as the newest outlook; what it would issue is left alone."""
    snapshot, queue = world.control.snapshot(world.now)
    made = plan(snapshot, queue, world.now, policy)
    world.control.outlook = Outlook(made)
    return made


def full_house() -> tuple[World, JobId]:
    """One open site with one node, and a job that has all of it for a minute."""
    world = World(nodes=1)
    for name in ("fukuoka", "ishikari"):
        world.ask(r.DrainSite("op", SiteName(name), True))
    running = world.submit("first", nodes=4)
    world.run(running, "tokyo")
    return world, running


def test_a_job_behind_another_says_which_and_until_when() -> None:
    world, running = full_house()
    job = world.submit("second", expect_us=90 * SECOND)
    assert planned(world).placements
    said = world.control.why(job, world.now)
    assert said.reason == Reason(Code.CAPACITY, "tokyo", running, found=60 * SECOND)
    assert (said.site, said.awaits, said.start) == ("tokyo", running, world.now + 60 * SECOND)
    assert said.expects == Estimate(90 * SECOND, Source.USER)
    world.wait(20 * SECOND)
    again = why(world.control.state, world.control.outlook, world.control.state.jobs[job], world.now)
    assert again.reason.found == 40 * SECOND, "time passes without a new plan"
    assert again.start == said.start


def test_beyond_the_horizon_the_earliest_start_is_told_all_the_same() -> None:
    world, running = full_house()
    job = world.submit("second")
    assert not planned(world, Policy(exact_below_cells=0, horizon_us=SECOND)).placements
    said = world.control.why(job, world.now)
    assert said.reason == Reason(Code.CAPACITY, "tokyo", running, found=60 * SECOND)
    assert (said.site, said.awaits, said.start) == ("tokyo", running, world.now + 60 * SECOND)


def test_who_says_how_long_is_told_until_it_ends() -> None:
    world = World()
    job = world.submit("job")
    assert world.control.why(job, world.now).expects == Estimate(DEFAULT_RUN_US, Source.DEFAULT)
    attempt = world.run(job, "tokyo")
    assert world.control.why(job, world.now).expects == Estimate(DEFAULT_RUN_US, Source.DEFAULT)
    world.report("tokyo", ended(attempt))
    assert world.control.state.jobs[job].state is JobState.SUCCEEDED
    assert world.control.why(job, world.now).expects is None
    like = world.submit("job", key="again")
    assert world.control.why(like, world.now).expects == Estimate(SECOND, Source.HISTORY)
    other = world.submit("other")
    assert world.control.why(other, world.now).expects == Estimate(SECOND, Source.TENANT)
