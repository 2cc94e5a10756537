"""The bound holds at any prices, and is reached where nothing is scarce."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.price.dual import dual
from moyai.plan.price.instance import Instance, prices_of
from plan.price.instances import best_by_highs, small

SEEDS = st.integers(0, 10_000)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0, 30))
def test_no_relaxed_plan_is_worth_more_than_the_bound_at_any_prices(seed: int, height: float) -> None:
    instance = small(seed)
    flat = np.random.default_rng(seed).uniform(0, height, len(instance.limits))
    assert dual(instance, prices_of(instance, flat)).bound >= best_by_highs(instance, whole=False) - 1e-4


def test_without_scarcity_the_bound_at_no_prices_is_every_job_at_its_best() -> None:
    instance = small(1)
    free = dual(instance, prices_of(instance, np.zeros(len(instance.limits))))
    best = np.maximum(instance.value.max(1).astype(np.float64), 0)
    assert free.bound == pytest.approx(float(best @ (instance.jobs * instance.gang)), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_use_is_a_subgradient(seed: int) -> None:
    instance = small(seed)
    r = np.random.default_rng(seed)
    here, there = r.uniform(0, 20, (2, len(instance.limits)))
    at_here = dual(instance, prices_of(instance, here))
    at_there = dual(instance, prices_of(instance, there))
    slope = instance.limits - at_here.use
    assert at_there.bound >= at_here.bound + float(slope @ (there - here)) - 1e-5 * abs(at_here.bound) - 1e-4


def test_a_negative_price_is_refused() -> None:
    instance = small(0)
    with pytest.raises(AssertionError, match="negative"):
        dual(instance, prices_of(instance, np.full(len(instance.limits), -1.0)))


def test_a_class_that_may_run_nowhere_is_left_out() -> None:
    made = small(3)
    nowhere = Instance(**{n: getattr(made, n) for n in made.__slots__} | {"value": np.full_like(made.value, -1)})
    found = dual(nowhere, prices_of(nowhere, np.zeros(len(nowhere.limits))))
    assert (found.choice == -1).all()
    assert found.bound == pytest.approx(0, abs=1e-5)
