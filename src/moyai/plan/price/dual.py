"""The bound: at any prices, no plan is worth more than what is left to the jobs plus what the limits cost."""

from dataclasses import dataclass

import numpy as np

from moyai.plan.price.instance import F64, I64, Instance, Prices, limits_taken, per_gpu, per_hour, summed
from moyai.plan.price.pieces import Piece, pieces


@dataclass(frozen=True, slots=True, eq=False)
class Dual:
    """The dual at some prices.

    bound   yen; no plan of the instance is worth more
    choice  (classes,) the option that leaves each class most; −1 where none leaves anything
    left    (classes,) yen per GPU that it leaves, at least 0
    use     (prices,)  what those choices would take of each limit
    """

    bound: float
    choice: I64
    left: F64
    use: F64


def dual(instance: Instance, prices: Prices, parts: tuple[Piece, ...] | None = None) -> Dual:
    """The exact dual at any prices that are not negative.

    Σ jobs · gang · max(0, max over options of value − price · hours) + prices · limits, in double precision; a part in
    10⁸ is added for rounding. `parts`: the instance in pieces; where options were left out of them, the bound is one
    without these. Source: weak duality; Boyd & Vandenberghe, Convex Optimization, 2004, ch. 5.
    """
    flat = prices.flat()
    assert (flat >= 0).all(), "a price is negative: the bound would not hold"
    cost = per_gpu(instance, per_hour(instance, prices))
    choice = np.full(instance.classes, -1, dtype=np.int64)
    left = np.zeros(instance.classes)
    for piece in pieces(instance) if parts is None else parts:
        gain = piece.value - cost[piece.length, piece.options]
        best = gain.argmax(1)
        most = gain[np.arange(len(best)), best]
        choice[piece.rows] = np.where(most > 0, piece.options[best], -1)
        left[piece.rows] = np.maximum(most, 0)
    gpus = instance.gpus
    bound = float(gpus @ left) + float(flat @ instance.limits)
    some = choice >= 0
    cells = instance.length[some] * instance.options + choice[some]
    wanted = summed(cells, gpus[some], len(instance.hours) * instance.options)
    use = limits_taken(instance, wanted.reshape(len(instance.hours), instance.options))
    return Dual(rounded_up(bound), choice, left, use)


def rounded_up(bound: float) -> float:
    """A bound with what the rounding of its sum may hide."""
    return bound + 1e-8 * abs(bound) + 1e-6
