"""Sites that are lost and come back, jobs that are stopped: no work disappears, and what was saved is not done again."""

from collections.abc import Sequence
from dataclasses import replace

from moyai.model import events as e
from moyai.model.units import Instant
from moyai.plan.place import plan
from moyai.plan.types import Plan, Policy, Preemption, QueuedJob, Snapshot
from moyai.twin.replay.first import first_come
from moyai.twin.replay.run import LEASE_US, replay
from moyai.twin.replay.setup import Fault, Mishap
from twin.replay.small import EAST, HOUR, PLAIN, SECOND, WEST, Log, dataset, job, setup


def test_a_site_that_is_lost_loses_no_job() -> None:
    jobs = [job(n, 0, 2 * HOUR, saves_us=HOUR // 4) for n in range(4)]
    made = replace(
        setup(*jobs), faults=(Fault(HOUR, EAST, Mishap.LOST), Fault(5 * HOUR, EAST, Mishap.BACK)), policy=PLAIN
    )
    log = Log()
    outcome = replay(made, plan, policy="p", watch=log)
    assert all(row.succeeded for row in outcome.jobs)
    lost = [r for r in log.records if isinstance(r.body, e.SiteLost)]
    assert len(lost) == 1
    assert LEASE_US <= lost[0].recorded_at - made.began - HOUR <= LEASE_US + SECOND
    moved = [row for row in outcome.jobs if row.attempts > 1]
    assert len(moved) == 2
    for row in moved:
        assert row.site == WEST
        # Its newest copy elsewhere is a quarter of an hour old at most, and then one more for the lease.
        assert 0 < row.lost_us <= HOUR // 2
    dark = [s for s in outcome.samples if HOUR < s.at_us < 5 * HOUR]
    assert {s.sites[0].power_w for s in dark} == {0}


def test_without_a_checkpoint_a_lost_run_is_done_again_whole() -> None:
    made = replace(setup(job(0, 0, 2 * HOUR), west=0 + 1), faults=(Fault(HOUR, EAST, Mishap.LOST),), policy=PLAIN)
    (row,) = replay(made, first_come, policy="p").jobs
    assert row.succeeded
    assert (row.attempts, row.site) == (2, WEST)
    assert HOUR <= row.lost_us <= HOUR + 2 * LEASE_US


def test_a_site_that_comes_back_within_its_lease_goes_on() -> None:
    back = HOUR + LEASE_US // 2
    faults = (Fault(HOUR, EAST, Mishap.LOST), Fault(back, EAST, Mishap.BACK))
    log = Log()
    outcome = replay(replace(setup(job(0, 0, 2 * HOUR), west=1), faults=faults), first_come, policy="p", watch=log)
    assert outcome.jobs[0].succeeded
    assert outcome.jobs[0].attempts == 2
    assert not log.bodies(e.SiteLost)


def test_a_drained_site_takes_nothing_new() -> None:
    faults = (Fault(0, EAST, Mishap.DRAIN), Fault(5 * HOUR, EAST, Mishap.UNDRAIN))
    jobs = [job(n, SECOND, HOUR) for n in range(4)] + [job(9, 6 * HOUR, HOUR)]
    rows = replay(replace(setup(*jobs), faults=faults), first_come, policy="p").jobs
    assert all(row.succeeded for row in rows)
    assert {row.site for row in rows[:4]} == {WEST}
    assert rows[4].site == EAST


def test_who_is_preempted_saves_and_resumes() -> None:
    calls = 0

    def planner(snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy) -> Plan:
        nonlocal calls
        made = first_come(snapshot, queue[::-1], now, policy)
        busy = [b for b in snapshot.busy if b.preemptible]
        if not made.placements and busy and queue and not calls:
            calls += 1
            return replace(made, preemptions=(Preemption(busy[0].attempt, queue[0].job),))
        return made

    one = replace(setup(job(0, 0, 2 * HOUR, saves_us=50 * 60 * SECOND), job(1, HOUR, HOUR), east=1, west=1))
    lone = replace(one, profiles=one.profiles[:1], links=())
    outcome = replay(lone, planner, policy="p")
    first, second = outcome.jobs
    assert (first.preemptions, first.attempts, second.preemptions) == (1, 2, 0)
    assert first.succeeded
    assert second.succeeded
    assert first.lost_us <= 2 * SECOND  # what it took to save
    assert second.ended_us is not None
    assert first.ended_us is not None
    assert second.ended_us < first.ended_us


def test_data_comes_before_the_job_and_its_way_is_paid() -> None:
    made = replace(setup(job(0, 60 * SECOND, data=("corpus",)), east=0, west=1), policy=PLAIN)
    made = replace(made, profiles=(replace(made.profiles[0], flavors=()), made.profiles[1]))
    made = replace(made, datasets=(dataset("corpus", EAST, 60_000_000_000),))
    outcome = replay(made, plan, policy="p")
    (row,) = outcome.jobs
    assert row.succeeded
    assert (row.site, row.moved_bytes, outcome.wan_bytes) == (WEST, 60_000_000_000, 60_000_000_000)
    assert row.started_us is not None
    assert row.started_us >= 60 * SECOND + 600 * SECOND  # 60 GB at 100 MB/s
    assert row.cost_micro_yen > 60 * 10_000_000


def test_a_fetch_from_a_site_that_is_lost_fails_and_the_job_goes_on_when_it_is_back() -> None:
    made = replace(setup(job(0, 60 * SECOND, data=("corpus",)), west=1), policy=PLAIN)
    made = replace(made, profiles=(replace(made.profiles[0], flavors=()), made.profiles[1]))
    made = replace(
        made,
        datasets=(dataset("corpus", EAST, 60_000_000_000),),
        faults=(Fault(300 * SECOND, EAST, Mishap.LOST), Fault(HOUR, EAST, Mishap.BACK)),
    )
    outcome = replay(made, plan, policy="p")
    (row,) = outcome.jobs
    assert row.succeeded
    assert row.moved_bytes == 60_000_000_000
    assert row.started_us is not None
    assert row.started_us > HOUR
