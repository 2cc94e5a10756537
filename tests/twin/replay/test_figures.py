"""Figures against small sums done by hand, and intervals against a known table."""

from math import inf, isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.twin.replay.figures import figures, interval, quantile, student_t
from moyai.twin.replay.first import first_come
from moyai.twin.replay.run import replay
from twin.replay.small import HOUR, SECOND, job, setup


def test_the_figures_of_a_small_replay() -> None:
    jobs = [job(n, 0, HOUR, deadline_us=HOUR + 600 * SECOND) for n in range(6)] + [job(9, 0, residency=("FR",))]
    outcome = replay(setup(*jobs), first_come, policy="p")
    found = figures(outcome)
    assert (found.jobs, found.rejected, found.unfinished, found.failed) == (7, 1, 0, 0)
    assert found.hit_rate == pytest.approx(4 / 6)
    assert found.mean_completion_s == pytest.approx((4 * 3_600 + 2 * 7_200) / 6, rel=0.01)
    assert found.p99_completion_s == pytest.approx(7_200, rel=0.02)
    assert found.mean_wait_s == pytest.approx(2 * 3_600 / 6, rel=0.02)
    assert found.allocated_pct == pytest.approx(75, rel=0.02)
    assert found.yen >= found.bills_yen > 0  # all came at once: nothing idled before the last
    assert found.kwh == pytest.approx(outcome.feed_energy_j / 3.6e6)
    assert (found.wan_gb, found.preemptions, found.lost_gpu_h) == (0, 0, 0)
    assert found.plans == len(outcome.plan_s)


def test_no_deadlines_no_rate() -> None:
    assert isnan(figures(replay(setup(job(0)), first_come, policy="p")).hit_rate)


def test_intervals() -> None:
    assert interval([4.0]) == (4.0, inf)
    mean, half = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0
    assert half == pytest.approx(2.776 * 1.5811388 / 5**0.5)
    assert [round(student_t(n), 3) for n in (1, 9, 30, 40, 120)] == [12.706, 2.262, 2.042, 2.021, 1.98]
    with pytest.raises(ValueError, match="no values"):
        interval([])
    with pytest.raises(ValueError, match="two values"):
        student_t(0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_a_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-9
    assert isnan(quantile([], share))
