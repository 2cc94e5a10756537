"""Rounding in turn: within one of each share, and near the shares' sum on every limit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.price.carry import carried, rounded
from moyai.plan.price.instance import Columns, demand_of, limits_taken
from plan.price.instances import small


def columns_of(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class, option and jobs that aren't whole: three options of each class, four jobs in all."""
    r = np.random.default_rng(seed)
    option = np.concatenate([np.sort(r.permutation(8)[:3]) for _ in range(classes)])
    share = r.dirichlet([1.0, 1.0, 1.0], classes)
    return np.repeat(np.arange(classes), 3), option, (share * 4).ravel()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30))
def test_each_number_and_each_class_is_within_one(seed: int, most: int) -> None:
    instance = small(seed, classes=20, gangs=(1, 2, 4))
    cls, option, expected = columns_of(seed, 20)
    want = carried(instance, cls, option, expected, np.ones(len(instance.limits)), most=most)
    assert (np.abs(want - expected) < 1 + 1e-5).all()
    assert (np.abs(np.bincount(cls, want) - 4) <= 1).all()


def test_errors_on_the_limits_are_smaller_than_without_carrying() -> None:
    def error(seed: int, most: int) -> float:
        instance = small(seed, classes=300, gangs=(1,))
        cls, option, expected = columns_of(seed, 300)
        want = carried(instance, cls, option, expected, np.ones(len(instance.limits)), most=most)
        off = [limits_taken(instance, demand_of(instance, Columns(cls, option, n))) for n in (want, expected)]  # type: ignore[arg-type]
        return float(np.abs(off[0] - off[1]).sum())

    assert sum(error(s, 300) for s in range(5)) < 0.5 * sum(error(s, 0) for s in range(5))


def test_without_turns_it_is_the_systematic_rounding() -> None:
    instance = small(3, classes=20)
    cls, option, expected = columns_of(3, 20)
    want = carried(instance, cls, option, expected, np.ones(len(instance.limits)), most=0, seed=2)
    assert (want == rounded(cls, expected, 2)).all()
    none = np.zeros(0, dtype=np.int64)
    assert len(carried(instance, none, none, np.zeros(0), np.ones(len(instance.limits)), most=5)) == 0
