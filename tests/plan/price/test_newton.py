"""The smoothed answers, their derivative, and prices near those of the linear programme."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.price.dual import dual
from moyai.plan.price.instance import prices_of
from moyai.plan.price.newton import Schedule, curvature, newton, respond, softmax, unit
from plan.price.instances import best_by_highs, small

FINE = Schedule(first=0.2, last=0.0005, steps=120, close=0.002)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_shares_are_parts_of_a_class_and_masked_options_get_none(seed: int) -> None:
    instance = small(seed)
    answer = softmax(instance)
    respond(instance, np.full(len(instance.limits), 3.0), 2.0, answer)
    assert (answer.shares >= 0).all()
    assert (answer.shares.sum(1) <= 1 + 1e-5).all()
    masked = replace(instance, value=np.where(instance.value > 0, instance.value, -1e9).astype(np.float32))
    respond(masked, np.full(len(instance.limits), 3.0), 2.0, answer)
    assert (answer.shares[instance.value <= 0] < 1e-12).all()


@pytest.mark.parametrize("seed", range(4))
def test_curvature_is_the_derivative_of_use(seed: int) -> None:
    instance = small(seed)
    answer = softmax(instance)
    flat, tau = np.full(len(instance.limits), 3.0), 4.0
    respond(instance, flat, tau, answer)
    found = curvature(instance, tau, answer)
    before = answer.use.copy()
    assert np.allclose(found, found.T, rtol=1e-4, atol=1e-4)
    for price in range(len(flat)):
        moved = flat.copy()
        moved[price] += 1e-2
        respond(instance, moved, tau, answer)
        slope = -(answer.use - before) / 1e-2
        assert np.allclose(found[:, price], slope, rtol=2e-2, atol=2e-2 * max(1.0, float(np.abs(found).max())))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_bound_comes_near_the_linear_programme(seed: int) -> None:
    instance = small(seed, classes=40, most_jobs=20, gangs=(1,))
    answer = softmax(instance)
    found = newton(instance, None, FINE, unit(instance), answer)
    relaxed = best_by_highs(instance, whole=False)
    assert dual(instance, found.best).bound <= relaxed * 1.02 + 1


def test_a_second_search_from_its_own_prices_takes_few_steps() -> None:
    instance = small(5, classes=40, most_jobs=20, gangs=(1,))
    measure = unit(instance)
    cold = newton(instance, None, FINE, measure, softmax(instance))
    last = Schedule(first=FINE.last, last=FINE.last, steps=120, close=0.01)
    warm = newton(instance, cold.prices, last, measure, softmax(instance))
    assert warm.steps < cold.steps / 3


def test_prices_are_never_negative_and_a_lost_site_has_finite_ones() -> None:
    instance = small(7, classes=30)
    capacity, power = instance.capacity.copy(), instance.power.copy()
    capacity[0], power[0] = 0, 0
    lost = replace(instance, capacity=capacity, power=power)
    found = newton(lost, None, FINE, unit(lost), softmax(lost))
    flat = found.best.flat()
    assert np.isfinite(flat).all()
    assert (flat >= 0).all()
    assert prices_of(lost, flat).capacity.shape == lost.capacity.shape
