"""Pieces hold every class and option that may be, once, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.price import pieces as module
from moyai.plan.price.fill import largest_gang
from moyai.plan.price.pieces import only, pieces
from plan.price.instances import small


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_pieces_are_the_table(seed: int, fitting: bool) -> None:
    made = small(seed, classes=60, sites=3, gangs=(1, 8, 64), room=12)
    value = made.value.reshape(60, 3, -1).copy()
    value[np.random.default_rng(seed).random((60, 3)) < 0.5] = -1  # bound to some sites
    instance = replace(made, value=value.reshape(made.value.shape))
    fits = largest_gang(instance, instance.limits)
    wanted = np.where((instance.value > 0) & (instance.jobs > 0)[:, None], instance.value, -1)
    if fitting:
        wanted = np.where(instance.gang[:, None] <= fits[instance.length], wanted, -1)
    found = np.full(instance.value.shape, -1, dtype=np.float32)
    seen = np.zeros(instance.classes, dtype=np.int64)
    for piece in pieces(instance, fits if fitting else None):
        assert (instance.length[piece.rows] == piece.length).all()
        found[np.ix_(piece.rows, piece.options)] = np.maximum(piece.value, -1)
        seen[piece.rows] += 1
    assert (found == wanted).all()
    assert (seen == (wanted > 0).any(1)).all()


def test_classes_bound_to_few_sites_take_few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL", 0)
    made = small(1, classes=400, sites=8, gangs=(1,))
    value = np.abs(made.value).reshape(400, 8, -1)
    home = np.arange(400) % 8
    value[np.arange(8) != home[:, None]] = -1
    instance = replace(made, value=value.reshape(made.value.shape))
    assert sum(piece.value.size for piece in pieces(instance)) <= 0.2 * instance.value.size


def test_only_keeps_the_classes_asked_for() -> None:
    instance = small(2, classes=50)
    kept = np.arange(50) % 3 == 0
    rows = np.concatenate([piece.rows for piece in only(pieces(instance), kept)])
    all_rows = np.concatenate([piece.rows for piece in pieces(instance)])
    assert sorted(rows.tolist()) == sorted(all_rows[kept[all_rows]].tolist())
