"""Rings: never worse, always sound, and the transport optimum where the places are given."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.price.fill import Room, pack
from moyai.plan.price.instance import Columns, Instance, worth
from moyai.plan.price.rotate import rotate
from plan.price.instances import assert_sound, best_by_highs, small

SEEDS = st.integers(0, 10_000)


def any_plan(instance: Instance, seed: int) -> Columns:
    """Jobs in options drawn at random, as far as they fit."""
    r = np.random.default_rng(seed)
    cls, option = np.nonzero(instance.value > 0)
    pick = r.permutation(len(cls))
    cls, option = cls[pick], option[pick]
    _, first = np.unique(cls, return_index=True)
    wish = Columns(cls[first], option[first], instance.jobs[cls[first]])
    room = Room(instance.limits.copy(), instance.jobs.copy())
    pack(instance, wish, r.random(len(first)), room)
    return room.columns()


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([(1,), (1, 2, 4), (2, 8)]), st.floats(0, 30))
def test_rings_gain_and_keep_the_plan_sound(seed: int, gangs: tuple[int, ...], height: float) -> None:
    instance = small(seed, classes=25, sites=3, gangs=gangs, room=12)
    plan = any_plan(instance, seed)
    cost = np.random.default_rng(seed).uniform(0, height, (len(instance.hours), instance.options))
    turned = rotate(instance, plan, cost, turns=200)
    assert_sound(instance, turned)
    assert worth(instance, turned) >= worth(instance, plan) * (1 - 1e-9)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_one_size_and_one_bucket_of_whole_places_is_solved_exactly(seed: int) -> None:
    made = small(seed, classes=12, sites=3, flavors=2, buckets=1, gangs=(2,), room=6)
    instance = replace(
        made,
        length=np.zeros_like(made.length),
        hours=np.ones_like(made.hours),
        capacity=np.floor(made.capacity),
        power=np.full_like(made.power, np.inf),
    )
    start = any_plan(instance, seed)
    turned = rotate(instance, start, np.zeros((len(instance.hours), instance.options)), turns=500)
    whole = replace(instance, capacity=np.floor(instance.capacity / 2) * 2)
    if len(start.cls):
        assert worth(instance, turned) >= best_by_highs(whole, whole=False) * (1 - 1e-5)


def test_two_jobs_in_one_another_s_places_change_them() -> None:
    made = small(0, classes=2, sites=2, flavors=1, buckets=1, gangs=(1,))
    instance = replace(
        made,
        value=np.array([[9, 1], [1, 9]], dtype=np.float32),
        jobs=np.array([3, 3]),
        length=np.zeros(2, dtype=np.int64),
        capacity=made.capacity * 0 + 3 * made.hours[0, 0, 0, 0],
        power=np.full_like(made.power, np.inf),
    )
    each = np.arange(2)
    wrong = Columns(each, each[::-1].copy(), np.array([3, 3]))
    right = rotate(instance, wrong, np.zeros((len(instance.hours), 2)), turns=9)
    assert (worth(instance, wrong), worth(instance, right)) == (6, 54)
    assert right.option.tolist() == [0, 1]
