"""How long a job will run, and who says so."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from control.fleet import TENANT, World
from moyai.control import requests as r
from moyai.control.core import replay
from moyai.control.estimates import (
    DEFAULT_RUN_US,
    LIKE_RUNS,
    OVERRUN_MIN_US,
    TENANT_RUNS,
    Estimate,
    Source,
    estimate,
    estimate_us,
    history_key,
    like,
    remaining_us,
    remember,
    typical_us,
)
from moyai.control.state import State, state_bytes, state_from, state_hash
from moyai.model import events as e
from moyai.model.ids import JobId
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant

SECOND = 1_000_000
KEPT = World()
KEPT_JOB = KEPT.submit("kept")
RUNS = st.lists(st.integers(0, 10**12), min_size=1, max_size=TENANT_RUNS).map(sorted)


def told(world: World, job: JobId) -> Estimate:
    """The estimate of a job."""
    state = world.control.state
    said = estimate(state, state.jobs[job])
    assert estimate_us(state, state.jobs[job]) == said.run_us
    return said


def ran(world: World, name: str, run_us: int, times: int = 1, outcome: e.Outcome = e.Outcome.SUCCEEDED) -> None:
    """Jobs of that name run for so long."""
    for _ in range(times):
        job = world.submit(name, key=f"{name}-{world.control.state.seq}")
        attempt = world.run(job, "tokyo")
        end = e.AttemptEnded(attempt, outcome, Reason(Code.EXIT), Instant(1), Instant(2), run_us, 0, 0, True, 0)
        world.report("tokyo", end)
        if outcome is not e.Outcome.SUCCEEDED:
            world.ask(r.CancelJob("user:a", job))


def test_the_user_then_its_like_then_its_tenant_then_a_default() -> None:
    world = World()
    first = world.submit("first")
    assert told(world, first) == Estimate(DEFAULT_RUN_US, Source.DEFAULT)
    ran(world, "train", 64 * SECOND)
    assert told(world, first) == Estimate(64 * SECOND, Source.TENANT)
    assert told(world, world.submit("train", key="again")) == Estimate(64 * SECOND, Source.HISTORY)
    said = world.submit("train", key="said", expect_us=5 * SECOND)
    assert told(world, said) == Estimate(5 * SECOND, Source.USER)


def test_no_estimate_is_above_the_limit() -> None:
    world = World()
    for more, source in (({"expect_us": 9 * SECOND}, Source.USER), ({}, Source.DEFAULT)):
        job = world.submit("j", key=source, limit_us=2 * SECOND, **more)
        assert told(world, job) == Estimate(2 * SECOND, source)
    ran(world, "j", 8 * SECOND)
    assert told(world, world.submit("j", key="x", limit_us=2 * SECOND)) == Estimate(2 * SECOND, Source.HISTORY)


def test_what_failed_says_nothing() -> None:
    world = World()
    ran(world, "train", SECOND, outcome=e.Outcome.FAILED)
    assert not world.control.state.history
    assert not world.control.state.tenant_history


def test_a_run_that_resumed_counts_with_what_its_checkpoint_saved() -> None:
    world = World()
    job = world.submit("long")
    world.control.state.attempts[world.run(job, "tokyo")].covered_us = 60 * SECOND
    attempt = world.control.state.jobs[job].newest
    assert attempt is not None
    end = e.AttemptEnded(
        attempt, e.Outcome.SUCCEEDED, Reason(Code.EXIT), Instant(1), Instant(2), 4 * SECOND, 0, 0, True, 0
    )
    world.report("tokyo", end)
    assert world.control.state.history["acme/nlp/long"] == [64 * SECOND]


def test_history_is_bounded_sorted_and_the_newest_is_in_it() -> None:
    world = World()
    for i in range(2 * TENANT_RUNS):
        run_us = (i * 37 % 97 + 1) * SECOND
        ran(world, "train", run_us)
        state = world.control.state
        for runs, most in ((state.history["acme/nlp/train"], LIKE_RUNS), (state.tenant_history[TENANT], TENANT_RUNS)):
            assert len(runs) == min(i + 1, most)
            assert runs == sorted(runs)
            assert run_us in runs


def test_it_follows_when_runs_become_longer() -> None:
    world = World()
    ran(world, "train", SECOND, 40)
    ran(world, "train", 100 * SECOND, 3 * LIKE_RUNS)
    job = world.submit("train", key="next")
    assert abs(told(world, job).run_us - 100 * SECOND) <= 100 * SECOND // 16
    assert world.control.state.tenant_history[TENANT].count(SECOND) >= 5, "the tenant's memory is longer"


def test_a_replay_remembers_the_same() -> None:
    world = World()
    for i in range(LIKE_RUNS + 5):
        ran(world, f"n{i % 2}", (i + 1) * SECOND, 2)
    assert state_hash(replay(State(), world.records)) == state_hash(world.control.state)


def test_a_state_that_was_kept_before_tenants_had_a_history_is_read() -> None:
    world = World()
    ran(world, "train", SECOND)
    kept = state_bytes(world.control.state).replace(b'"tenant_history":{"acme":[1000000]},', b"")
    assert b"tenant_history" not in kept
    state = state_from(kept)
    assert state.tenant_history == {}
    assert state.history == {"acme/nlp/train": [SECOND]}
    assert like(state, state.jobs[next(iter(state.jobs))]) == [SECOND]


@given(RUNS)
def test_half_of_the_runs_are_as_long_or_longer(runs: Sequence[int]) -> None:
    typical = typical_us(runs)
    assert 2 * sum(run >= typical for run in runs) >= len(runs)
    assert 2 * sum(run <= typical for run in runs) >= len(runs)


@given(st.integers(0, 10**12))
def test_runs_are_kept_with_two_digits(run_us: int) -> None:
    state, job = KEPT.control.state, KEPT.control.state.jobs[KEPT_JOB]
    state.history.clear()
    remember(state, job, run_us, 1)
    (kept,) = state.history[history_key(job)]
    assert kept >= 1
    assert kept == 1 or abs(kept - run_us) * 20 <= run_us
    assert len(str(kept).rstrip("0")) <= 2


def test_one_more_run_of_about_the_usual_length_changes_nothing() -> None:
    world = World()
    for run_us in (63_900_000, 64_100_000, 64_300_000):
        ran(world, "train", run_us)
    job = world.submit("train", key="next")
    before = told(world, job)
    ran(world, "train", 64_450_000)
    assert told(world, job) == before == Estimate(64 * SECOND, Source.HISTORY)


@given(RUNS, st.integers(0, 10**12))
def test_what_remains_is_what_longer_runs_say(runs: Sequence[int], age_us: int) -> None:
    left = remaining_us(runs, age_us)
    longer = [run for run in runs if run > age_us]
    assert left >= 1
    if longer:
        assert age_us + left in longer
    else:
        assert left == max(OVERRUN_MIN_US, age_us // 4)


def test_an_old_attempt_outlives_the_short_runs() -> None:
    runs = [SECOND] * 20 + [100 * SECOND] * 3
    assert remaining_us(runs, 0) == SECOND
    assert remaining_us(runs, 2 * SECOND) == 98 * SECOND
    assert remaining_us((), 80 * SECOND) == 20 * SECOND
    assert remaining_us((), SECOND) == OVERRUN_MIN_US
