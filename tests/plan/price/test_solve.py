"""Whole plans: never above their bound, always sound, the same each time, near the optimum of small instances."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.price.instance import BadInstance, worth
from moyai.plan.price.solve import QUICK, Effort, solve
from plan.price.instances import assert_sound, best_by_highs, small

SEEDS = st.integers(0, 10_000)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([3, 20, 120]), st.sampled_from([(1,), (1, 2, 4, 8), (1, 16, 64)]), st.booleans())
def test_a_plan_is_sound_and_never_above_its_bound(
    seed: int, classes: int, gangs: tuple[int, ...], quick: bool
) -> None:
    instance = small(seed, classes=classes, sites=3, buckets=3, gangs=gangs, most_jobs=9, room=20)
    answer = solve(instance, None, QUICK if quick else None)
    assert_sound(instance, answer.columns)
    assert answer.value == pytest.approx(worth(instance, answer.columns))
    assert answer.value <= answer.bound
    assert 0 <= answer.gap <= 1
    again = solve(instance, answer.prices, QUICK if quick else None)
    assert_sound(instance, again.columns)
    assert again.value <= min(again.bound, answer.bound) * (1 + 1e-9) + 1e-6


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_the_same_arguments_give_the_same_plan(seed: int) -> None:
    instance = small(seed, classes=50, most_jobs=9)
    one, two = solve(instance), solve(instance)
    assert (one.counts(instance) == two.counts(instance)).all()
    assert (one.prices.flat() == two.prices.flat()).all()
    assert (one.value, one.bound) == (two.value, two.bound)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_the_bound_is_above_the_exact_optimum_and_the_plan_below(seed: int) -> None:
    instance = small(seed, classes=5)
    answer = solve(instance)
    best = best_by_highs(instance, whole=True)
    assert answer.bound >= best - 1e-4
    assert answer.value <= best + 1e-4


def test_plans_of_small_instances_are_near_the_exact_optimum_in_the_mean() -> None:
    found = [(solve(i).value, best_by_highs(i, whole=True)) for i in (small(s, classes=8) for s in range(30))]
    assert sum(v for v, _ in found) >= 0.93 * sum(b for _, b in found)


def test_single_gpu_jobs_in_plenty_come_within_two_percent_of_the_linear_programme() -> None:
    for seed in range(3):
        instance = small(seed, classes=60, gangs=(1,), most_jobs=30, room=150)
        answer = solve(instance)
        assert answer.gap < 0.02


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_a_mask_of_residency_is_respected_whatever_a_site_would_pay(seed: int) -> None:
    instance = small(seed, classes=30, sites=3)
    sites, flavors, buckets = instance.shape
    value = instance.value.reshape(-1, sites, flavors, buckets) * 1
    value[:, 1] *= 100  # the best site by far
    barred = np.random.default_rng(seed).random(instance.classes) < 0.5
    value[barred, 1] = 0
    held = replace(instance, value=value.reshape(instance.value.shape))
    columns = solve(held).columns
    site = columns.option // (flavors * buckets)
    assert not ((site == 1) & barred[columns.cls]).any()
    assert_sound(held, columns)


def test_a_lost_site_gets_nothing_and_last_prices_still_serve() -> None:
    instance = small(11, classes=80, sites=3, most_jobs=9, room=30)
    before = solve(instance)
    capacity, power = instance.capacity.copy(), instance.power.copy()
    capacity[1], power[1] = 0, 0
    lost = replace(instance, capacity=capacity, power=power)
    after = solve(lost, before.prices)
    _, flavors, buckets = instance.shape
    assert not (after.columns.option // (flavors * buckets) == 1).any()
    assert after.value <= after.bound <= before.bound * (1 + 1e-6)


def test_nothing_to_place_is_an_empty_plan() -> None:
    instance = small(2)
    none = solve(replace(instance, jobs=np.zeros_like(instance.jobs)))
    assert (none.value, none.bound, len(none.columns.cls)) == (0, 0, 0)
    full = solve(replace(instance, capacity=np.zeros_like(instance.capacity)))
    assert (full.value, len(full.columns.cls)) == (0, 0)


def test_one_option_and_too_many_jobs() -> None:
    instance = small(6, classes=9, sites=1, flavors=1, buckets=1, gangs=(1,), most_jobs=30)
    answer = solve(instance)
    assert_sound(instance, answer.columns)
    assert 0 < answer.columns.count.sum() < instance.jobs.sum()
    assert answer.value <= best_by_highs(instance, whole=True) + 1e-4


def test_more_dives_are_never_worse() -> None:
    instance = small(4, classes=100, gangs=(1, 8, 64), most_jobs=9, room=40)
    assert solve(instance, None, Effort(dives=4)).value >= solve(instance, None, Effort(dives=1)).value


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("value", lambda a: np.full_like(a, np.nan)),
        ("capacity", lambda a: -a - 1),
        ("power", lambda a: np.full_like(a, np.nan)),
        ("kw", lambda a: a[:1]),
        ("gang", lambda a: a * 0),
        ("jobs", lambda a: a - 100),
        ("length", lambda a: a[::-1] + 0),
        ("length", lambda a: a + 100),
    ],
)
def test_arrays_that_mean_nothing_are_refused_by_name(name: str, spoil: object) -> None:
    instance = small(8, classes=9)
    assert callable(spoil)
    with pytest.raises(BadInstance, match=f"^{name}"):
        solve(replace(instance, **{name: spoil(getattr(instance, name))}))
