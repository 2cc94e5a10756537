"""A replay keeps its books: every job ends once, nothing is held twice, and the same setup gives the same log."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.facility.power import idle_power_w
from moyai.model import events as e
from moyai.model.units import J_PER_KWH, Instant
from moyai.model.workload import Need
from moyai.plan.place import plan
from moyai.plan.types import Plan, Policy, QueuedJob, Snapshot
from moyai.twin.replay.first import first_come
from moyai.twin.replay.run import replay
from moyai.twin.replay.setup import Change, Setup
from twin.replay.small import EAST, GPU, HOUR, PLAIN, SECOND, WEST, Log, dataset, job, setup


def _mixed(count: int = 20) -> Setup:
    jobs = [
        job(n, n * 300 * SECOND, HOUR // (1 + n % 4), nodes=1 + n % 2, failing=int(n % 7 == 3), saves_us=HOUR // 3)
        for n in range(count)
    ]
    return replace(setup(*jobs), policy=PLAIN)


@pytest.mark.parametrize("planner", [first_come, plan], ids=["first", "plan"])
def test_every_job_ends_once_and_the_log_says_all(planner) -> None:
    log = Log()
    outcome = replay(_mixed(), planner, policy="p", watch=log)
    ended = Counter(body.job for body in log.bodies(e.JobEnded))
    assert set(ended.values()) == {1}
    assert set(ended) == {row.job for row in outcome.jobs}
    assert all(row.succeeded for row in outcome.jobs)
    state = log.state()
    assert (state.seq, state.head_hash) == (outcome.events, outcome.head)
    for row in outcome.jobs:
        tries = [a for a in state.attempts.values() if a.job == row.job]
        assert row.cost_micro_yen == sum(a.cost_micro_yen for a in tries) + state.jobs[row.job].egress_micro_yen
        assert row.energy_j == sum(a.energy_j for a in tries)
        assert row.attempts == len(tries)
    assert outcome.wan_bytes == sum(body.moved_bytes for body in log.bodies(e.TransferEnded))


def test_the_same_again() -> None:
    first, second = (replay(_mixed(), plan, policy="p", seed=3) for _ in range(2))
    assert first.head == second.head
    assert first.jobs == second.jobs
    assert first.samples == second.samples
    other = replay(_mixed(), first_come, policy="p", seed=3)
    assert other.head != first.head


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 20_000), st.integers(1, 9_000), st.integers(1, 3), st.integers(1, 4), st.integers(0, 1)
        ),
        min_size=1,
        max_size=25,
    )
)
def test_nothing_is_held_twice(shapes: list[tuple[int, int, int, int, int]]) -> None:
    jobs = [
        job(
            n,
            at * SECOND,
            run * SECOND,
            nodes=nodes,
            need=replace(GPU, accelerators=each),
            saves_us=saves * 600 * SECOND,
        )
        for n, (at, run, nodes, each, saves) in enumerate(shapes)
    ]
    made = replace(setup(*jobs, east=3), sample_every_us=300 * SECOND)
    outcome = replay(made, first_come, policy="p")
    assert all(
        row.succeeded and row.run_us >= a.work.total_us for row, a in zip(outcome.jobs, made.arrivals, strict=True)
    )
    for sample in outcome.samples:
        for at in sample.sites:
            assert 0 <= at.busy <= at.total
            assert at.power_w <= 3 * 2_300 * 1.2 + 1
    gpu_us = sum(row.run_us * row.accelerators for row in outcome.jobs)
    assert gpu_us <= outcome.held_us <= outcome.units_us


def test_energy_is_what_idles_and_what_runs() -> None:
    made = setup(job(0, HOUR, HOUR), job(1, HOUR, HOUR // 2))
    outcome = replay(made, first_come, policy="p")
    idle_w = sum(idle_power_w(p) for p in made.profiles)
    rows = outcome.jobs
    assert outcome.span_us == pytest.approx(2 * HOUR, abs=2 * SECOND)
    assert outcome.idle_energy_j == pytest.approx(idle_w * HOUR / 1e6, abs=2)  # until the last job came
    assert outcome.feed_energy_j == pytest.approx(outcome.idle_energy_j + sum(r.energy_j for r in rows), abs=10)
    drawn = [r.energy_j * 1_000_000 // r.run_us for r in rows]
    assert outcome.peak_w == pytest.approx(idle_w + sum(drawn), abs=4)
    mean_price = sum(idle_power_w(p) * p.price_micro_yen_per_kwh for p in made.profiles) / idle_w
    assert outcome.idle_micro_yen == pytest.approx(outcome.idle_energy_j / J_PER_KWH * mean_price, rel=1e-4)


def test_a_price_that_changes_is_paid_from_then_on() -> None:
    made = setup(job(0, 0, 2 * HOUR))
    changed = replace(made, changes=(Change(HOUR, EAST, e.Signal.PRICE, 0), Change(HOUR, WEST, e.Signal.PRICE, 0)))
    before, after = (replay(s, first_come, policy="p") for s in (made, changed))
    assert after.idle_micro_yen == pytest.approx(before.idle_micro_yen / 2, rel=1e-3)
    assert after.idle_energy_j == before.idle_energy_j


def test_deadlines_are_counted_as_they_pass() -> None:
    jobs = [job(n, 0, HOUR, deadline_us=HOUR + 600 * SECOND) for n in range(6)] + [job(9, 4 * HOUR)]
    outcome = replay(setup(*jobs), first_come, policy="p")
    assert [row.on_time for row in outcome.jobs] == [True] * 4 + [False] * 2 + [None]
    assert (outcome.samples[0].met, outcome.samples[0].missed) == (0, 0)
    assert (outcome.samples[-1].met, outcome.samples[-1].missed) == (4, 2)
    assert max(s.queued for s in outcome.samples) == 2
    assert max(s.running for s in outcome.samples) == 4


def test_what_can_never_run_does_not_hang_it() -> None:
    far = job(0, residency=("FR",))
    big = job(1, nodes=3)
    outcome = replay(setup(far, big, job(2)), first_come, policy="p")
    assert [(r.rejected, r.succeeded) for r in outcome.jobs] == [(True, False), (True, False), (False, True)]

    def idle(snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy) -> Plan:
        return Plan(snapshot.seq, now)

    lazy = replay(setup(job(0), job(1, HOUR)), idle, policy="p")
    assert all(row.ended_us is None and not row.rejected for row in lazy.jobs)


def test_a_planner_that_insists_on_the_impossible_is_left_alone() -> None:
    def stubborn(snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy) -> Plan:
        made = first_come(replace(snapshot, busy=()), queue, now, policy)
        return replace(
            made, placements=tuple(replace(p, placement=replace(p.placement, nodes=(7,))) for p in made.placements)
        )

    outcome = replay(setup(job(0)), stubborn, policy="p")
    assert outcome.jobs[0].ended_us is None
    assert len(outcome.plan_s) < 1_000


def test_plans_keep_their_distance() -> None:
    made = replace(
        setup(*(job(n, n * SECOND, HOUR, need=Need(cores=1)) for n in range(100))), plan_every_us=30 * SECOND
    )
    asked: list[int] = []

    def planner(snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy) -> Plan:
        asked.append(now)
        return first_come(snapshot, queue, now, policy)

    outcome = replay(made, planner, policy="p")
    assert all(later - sooner >= 30 * SECOND for sooner, later in itertools.pairwise(asked))
    assert len(outcome.plan_s) == len(asked) <= 5


def test_a_limit_ends_a_job_and_failures_are_tried_again() -> None:
    rows = replay(setup(job(0, limit_us=HOUR // 2), job(1, failing=1)), first_come, policy="p").jobs
    assert not rows[0].succeeded
    assert rows[0].run_us == HOUR // 2 == rows[0].lost_us
    assert rows[1].succeeded
    assert (rows[1].attempts, rows[1].lost_us) == (2, HOUR // 2)


def test_two_arrivals_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="one key"):
        replay(setup(job(0), job(0)), first_come, policy="p")


def test_a_dataset_that_contradicts_itself_is_refused() -> None:
    twice = replace(setup(job(0)), datasets=(dataset("a", EAST, 1), dataset("a", EAST, 1)))
    with pytest.raises(ValueError, match="placed twice"):
        replay(twice, first_come, policy="p")


def test_progress_goes_up_to_one() -> None:
    told: list[float] = []
    replay(_mixed(12), first_come, policy="p", progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
