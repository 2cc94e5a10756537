"""Short lists and scaling: the same answers and bound as the whole table, and prices near those of the linear programme."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.price.dual import dual
from moyai.plan.price.fill import largest_gang
from moyai.plan.price.instance import Instance, per_gpu, per_hour, prices_of
from moyai.plan.price.newton import Schedule, respond, softmax, unit
from moyai.plan.price.pieces import pieces
from moyai.plan.price.scaling import scaled
from moyai.plan.price.short import bound_of, shortened
from moyai.plan.price.solve import HUGE, solve
from plan.price.instances import assert_sound, best_by_highs, small

SEEDS = st.integers(0, 10_000)
FINE = Schedule(first=0.2, last=0.002, steps=400, close=0.003)


def any_prices(instance: Instance, seed: int) -> np.ndarray:
    """Prices drawn at random, a third of them zero."""
    r = np.random.default_rng(seed)
    flat = r.uniform(0, 12, len(instance.limits))
    flat[r.random(len(flat)) < 0.3] = 0
    return flat


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_the_bound_in_single_precision_is_never_below_the_exact_one(seed: int) -> None:
    instance = small(seed, classes=30, sites=3)
    fits = largest_gang(instance, instance.limits) + 1e-6
    prices = prices_of(instance, any_prices(instance, seed))
    exact = dual(instance, prices, pieces(instance, fits)).bound
    assert exact * (1 - 1e-9) <= bound_of(instance, prices, fits) <= exact * (1 + 1e-5) + 1e-3


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.1, 20))
def test_lists_of_everything_answer_as_the_table_does(seed: int, tau: float) -> None:
    instance = small(seed, classes=30, sites=3)
    fits = largest_gang(instance, instance.limits) + 1e-6
    flat = any_prices(instance, seed)
    lists = shortened(instance, prices_of(instance, flat), 1e6, fits)
    lists.respond(instance, flat, tau)
    whole = softmax(instance, pieces(instance, fits))
    respond(instance, flat, tau, whole)
    assert np.allclose(lists.use, whole.use, rtol=1e-4, atol=1e-3)
    assert np.isclose(lists.left, whole.left, rtol=1e-4, atol=1e-3)
    kept = np.arange(instance.classes) % 2 == 0
    assert np.array_equal(lists.columns(kept, 1e-3)[0], lists.only(kept).columns(kept, 1e-3)[0])
    assert set(lists.only(kept).rows.tolist()) == {k for k in lists.rows.tolist() if kept[k]}


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0.1, 8))
def test_no_option_off_the_list_is_best_while_prices_stay_near(seed: int, margin: float) -> None:
    instance = small(seed, classes=30, sites=3, flavors=1)
    fits = largest_gang(instance, instance.limits) + 1e-6
    flat = any_prices(instance, seed)
    lists = shortened(instance, prices_of(instance, flat), margin, fits)
    pace = np.concatenate([np.ones(instance.options), np.repeat(1 / instance.kw.sum(1), instance.shape[2])])
    low, high = lists.near(instance, pace)
    moved = np.where(np.random.default_rng(seed + 1).random(len(flat)) < 0.5, low, high)
    cost = per_gpu(instance, per_hour(instance, prices_of(instance, moved)))
    gain = instance.value - cost[instance.length]
    may = (instance.value > 0) & (instance.gang[:, None] <= fits[instance.length]) & (instance.jobs > 0)[:, None]
    gain[~may] = -np.inf
    listed = np.zeros(gain.shape, np.bool_)
    listed[lists.rows[lists.of], lists.option] = True
    best = np.maximum(gain.max(1), 0)
    assert (np.where(listed, -np.inf, gain).max(1) <= best + 1e-3).all()
    assert (np.maximum(np.where(listed, gain, -np.inf).max(1), 0) >= best - 1e-3).all()


@pytest.mark.parametrize("seed", range(4))
def test_scaling_comes_near_the_linear_programme_of_a_long_queue(seed: int) -> None:
    instance = small(seed, classes=120, most_jobs=30, gangs=(1,), room=150)
    found = scaled(instance, None, FINE, unit(instance), softmax(instance))
    assert (found.best.flat() >= 0).all()
    assert dual(instance, found.best).bound <= best_by_highs(instance, whole=False) * 1.03


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from([(1,), (1, 2, 4, 8), (1, 16, 64)]))
def test_a_plan_by_short_lists_is_sound_and_the_same_each_time(seed: int, gangs: tuple[int, ...]) -> None:
    instance = small(seed, classes=40, sites=3, buckets=3, gangs=gangs, most_jobs=9, room=20)
    one, two = solve(instance, None, HUGE), solve(instance, None, HUGE)
    assert_sound(instance, one.columns)
    assert one.value <= one.bound
    assert (one.counts(instance) == two.counts(instance)).all()
    assert (one.value, one.bound) == (two.value, two.bound)
    warm = solve(instance, one.prices, HUGE)
    assert_sound(instance, warm.columns)
    assert max(one.value, warm.value) <= min(one.bound, warm.bound) * (1 + 1e-9) + 1e-6
