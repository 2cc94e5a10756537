"""Whole jobs: rounding, the packing against a loop over jobs, and options that no plan can have."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.price.carry import rounded
from moyai.plan.price.expand import to_jobs
from moyai.plan.price.fill import Room, largest_gang, pack
from moyai.plan.price.instance import Columns, Instance
from plan.price.instances import assert_sound, best_by_highs, small, used

SEEDS = st.integers(0, 10_000)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 5))
def test_rounding_stays_within_one_of_each_share_and_of_each_class(seed: int, turn: int) -> None:
    r = np.random.default_rng(seed)
    cls = np.sort(r.integers(0, 8, 30))
    expected = r.exponential(1.5, 30)
    whole = rounded(cls, expected, turn)
    assert (np.abs(whole - expected) < 1 + 1e-6).all()
    for k in np.unique(cls):
        assert abs(whole[cls == k].sum() - expected[cls == k].sum()) < 1 + 1e-6


def one_by_one(instance: Instance, wish: Columns, rank: np.ndarray) -> np.ndarray:
    """What a loop over the wishes in falling rank accepts."""
    got = np.zeros(len(wish.cls), dtype=np.int64)
    taken = np.zeros(len(instance.limits))
    for i in np.argsort(-rank, kind="stable"):
        one = used(instance, Columns(wish.cls[i : i + 1], wish.option[i : i + 1], np.ones(1, dtype=np.int64)))
        while got[i] < wish.count[i] and (taken + one <= instance.limits * (1 + 1e-12)).all():
            taken += one
            got[i] += 1
    return got


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_packing_is_sound_and_takes_what_a_loop_would_take(seed: int) -> None:
    instance = small(seed, classes=5, most_jobs=3)
    r = np.random.default_rng(seed)
    cls, option = np.nonzero(instance.value > 0)
    pick = np.sort(r.permutation(len(cls))[:4])
    cls, first = np.unique(cls[pick], return_index=True)
    option = option[pick][first]
    wish = Columns(cls, option, instance.jobs[cls])
    rank = r.random(len(cls))
    room = Room(instance.limits.copy(), instance.jobs.copy())
    got = pack(instance, wish, rank, room)
    assert (got == one_by_one(instance, wish, rank)).all()
    assert_sound(instance, room.columns())
    assert (room.limits >= 0).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_packing_many_wishes_is_sound_even_where_its_passes_run_out(seed: int) -> None:
    instance = small(seed, classes=60, most_jobs=3, room=15)
    best = instance.value.argmax(1)
    mine = np.flatnonzero((instance.value.max(1) > 0) & (instance.jobs > 0))
    room = Room(instance.limits.copy(), instance.jobs.copy())
    rank = np.random.default_rng(seed).random(len(mine))
    pack(instance, Columns(mine, best[mine], instance.jobs[mine]), rank, room)
    assert_sound(instance, room.columns())


def tightened(instance: Instance) -> Instance:
    """The same without the options whose gang fits in no plan by `largest_gang`."""
    fits = largest_gang(instance, instance.limits)[instance.length] + 1e-6
    return replace(instance, value=np.where(instance.gang[:, None] > fits, np.float32(-1), instance.value))


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_tightening_loses_no_plan_of_whole_jobs(seed: int) -> None:
    instance = small(seed, classes=4)
    tight = tightened(instance)
    assert best_by_highs(tight, whole=True) == pytest.approx(best_by_highs(instance, whole=True), rel=1e-6, abs=1e-6)
    fits = largest_gang(instance, instance.limits)[instance.length]
    assert ((tight.value <= 0) | (instance.gang[:, None] <= fits + 1e-3)).all()


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_expansion_gives_each_class_its_counts(seed: int) -> None:
    r = np.random.default_rng(seed)
    job_cls = r.integers(0, 4, 30)
    waiting = np.bincount(job_cls, minlength=4)
    cls = np.repeat(np.arange(4), 2)
    option = np.tile(np.array([5, 2]), 4)
    count = np.array([r.integers(0, waiting[k] // 2 + 1) for k in cls])
    chosen = to_jobs(Columns(cls, option, count), job_cls)
    for k, o, n in zip(cls, option, count, strict=True):
        assert int(((job_cls == k) & (chosen == o)).sum()) == n
    for k in range(4):
        mine = chosen[job_cls == k]
        placed = mine[mine >= 0]
        assert (np.diff(placed) >= 0).all()
        assert (mine[: len(placed)] >= 0).all()  # the first in the queue
