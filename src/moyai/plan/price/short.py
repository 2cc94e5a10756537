"""A short list of options for each class: those near its best at some prices. The others would get no share anyway.

At a million jobs and a hundred sites a class has hundreds of options and a handful of them in play. What is looked at
again and again is the short list; the whole table is looked at when the list is made, and for the bound.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moyai.plan.price.dual import rounded_up
from moyai.plan.price.instance import (
    F32,
    F64,
    I64,
    Bool,
    Instance,
    Prices,
    limits_taken,
    per_gpu,
    per_hour,
    prices_of,
    summed,
)

I32 = NDArray[np.int32]

_FAR = np.float32(-1e9)


@dataclass(slots=True, eq=False)
class Short:
    """The smoothed answer of all classes to prices, over short lists alone; what is missing to one stays out.

    rows    (classes that have a list,) ascending
    first   (those,)     where the list of each begins
    of      (entries,)   which of `rows` each entry belongs to
    option  (entries,)   ascending in each list
    value   (entries,)   yen for each GPU
    key     (entries,)   length · options + option
    share   (entries,)   of the class's jobs
    cost    (lengths, options) yen per GPU at the prices asked
    use     (prices,)    of each limit
    at      (prices,)    those at which the lists were made, and
    margin  yen per GPU-hour within which options were listed
    left    yen that the best answers leave the jobs; with the cost of the limits, the bound of the short lists
    """

    rows: I64
    first: I64
    of: I32
    option: I32
    value: F32
    key: I32
    share: F32
    cost: F64
    use: F64
    at: F64
    margin: float
    left: float = 0.0

    def near(self, instance: Instance, pace: F64) -> tuple[F64, F64]:
        """(prices,) the lowest and the highest at which no option that isn't listed is the best of its class.

        pace  (prices,) what each is for one yen of a GPU-hour

        What an hour of a GPU costs, capacity and power together, then moves by half of the margin at most.
        """
        return np.maximum(self.at - self.margin / 4 * pace, 0.0), self.at + self.margin / 4 * pace

    def respond(self, instance: Instance, flat: F64, tau: float) -> None:
        """Answer the prices at temperature `tau` (yen per GPU-hour)."""
        cost = per_gpu(instance, per_hour(instance, prices_of(instance, flat)))
        heat = tau * instance.work
        self.cost, self.left, wanted = cost, 0.0, np.zeros(cost.size)
        if len(self.rows):
            length, gpus = instance.length[self.rows], instance.gpus[self.rows]
            x = self.value * (1 / heat[length]).astype(np.float32)[self.of]
            x -= (cost / heat[:, None]).astype(np.float32).ravel()[self.key]
            top = np.maximum(np.maximum.reduceat(x, self.first), 0)
            x -= top[self.of]
            np.maximum(x, -60, out=x)
            np.exp(x, out=x)
            total = np.add.reduceat(x, self.first) + np.exp(-top)
            x *= (1 / total)[self.of]
            self.share = x
            self.left = float((gpus * heat[length]) @ top.astype(np.float64))
            wanted = summed(self.key, x * gpus.astype(np.float32)[self.of], cost.size)
        self.use = limits_taken(instance, wanted.reshape(cost.shape))

    def columns(self, kept: Bool, least: float) -> tuple[I64, I64, F64]:
        """Class, option and share of every share above `least` of the classes that `kept` says, by class and option."""
        some = np.flatnonzero((self.share > least) & kept[self.rows][self.of])
        return self.rows[self.of[some]], self.option[some].astype(np.int64), self.share[some].astype(np.float64)

    def only(self, kept: Bool) -> "Short":
        """The lists of the classes that `kept` (classes,) says."""
        mine = kept[self.rows]
        some = mine[self.of]
        of = (np.cumsum(mine) - 1)[self.of[some]].astype(np.int32)
        return replace(
            self,
            rows=self.rows[mine],
            first=_firsts(of),
            of=of,
            option=self.option[some],
            value=self.value[some],
            key=self.key[some],
            share=self.share[some],
        )


def shortened(instance: Instance, prices: Prices, margin: float, fits: F64) -> Short:
    """The options of each class whose gain at `prices` is within `margin` of its best, that of staying out included.

    margin  yen per GPU-hour
    fits    (lengths, options) GPUs that a gang may have to fit
    """
    slack = (margin * instance.work).astype(np.float32)
    cls: list[I64] = []
    option: list[I32] = []
    value: list[F32] = []
    key: list[I32] = []
    for length, first, gain in gains(instance, prices, fits):
        table = instance.value[first : first + len(gain)]
        least = np.maximum(gain.max(1), 0) - slack[length]
        least[instance.jobs[first : first + len(gain)] <= 0] = np.inf
        row, column = np.nonzero(gain >= least[:, None])
        offered = table[row, column]
        some = (offered > 0) & (gain[row, column] > _FAR)
        cls.append(first + row[some])
        option.append(column[some].astype(np.int32))
        value.append(offered[some])
        key.append((length * instance.options + column[some]).astype(np.int32))
    rows, of = np.unique(np.concatenate([np.zeros(0, np.int64), *cls]), return_inverse=True)
    values = np.concatenate([np.zeros(0, np.float32), *value])
    return Short(
        rows=rows,
        first=_firsts(of),
        of=of.astype(np.int32),
        option=np.concatenate([np.zeros(0, np.int32), *option]),
        value=values,
        key=np.concatenate([np.zeros(0, np.int32), *key]),
        share=np.zeros_like(values),
        cost=np.zeros((len(instance.hours), instance.options)),
        use=np.zeros(len(instance.limits)),
        at=prices.flat(),
        margin=margin,
    )


def bound_of(instance: Instance, prices: Prices, fits: F64) -> float:
    """The exact dual at any prices that are not negative, in yen, as `dual` tells it of the whole table.

    In single precision: what its rounding may hide is added. A gain of v − c, with both rounded, is short by at most
    2⁻²⁴ of c and 2⁻²⁴ of itself.
    """
    assert (prices.flat() >= 0).all(), "a price is negative: the bound would not hold"
    dearest = per_gpu(instance, per_hour(instance, prices)).max(1)
    gpus, total = instance.gpus, float(prices.flat() @ instance.limits)
    for length, first, gain in gains(instance, prices, fits):
        best = np.maximum(gain.max(1), 0).astype(np.float64)
        best += 2.0**-23 * (best + dearest[length])
        total += float(gpus[first : first + len(gain)] @ best)
    return rounded_up(total)


def gains(instance: Instance, prices: Prices, fits: F64) -> Iterator[tuple[int, int, F32]]:
    """(length, first class, (n, options) value less price) of some classes at a time; written over by the next.

    Far below zero where a gang doesn't fit; where a class may not run, below zero as its value is.
    """
    cost = per_gpu(instance, per_hour(instance, prices)).astype(np.float32)
    room: F32 | None = None
    for length, first, last in instance.chunks():
        if room is None or len(room) < last - first:
            room = np.empty((last - first, instance.options), np.float32)
        gain = np.subtract(instance.value[first:last], cost[length], out=room[: last - first])
        gang = instance.gang[first:last]
        narrow = np.flatnonzero(fits[length] < gang.max())
        if len(narrow):
            part = gain[:, narrow]
            part[gang[:, None] > fits[length, narrow]] = _FAR
            gain[:, narrow] = part
        yield length, first, gain


def best_values(instance: Instance) -> F64:
    """(classes,) yen for each GPU of a job in its best option; not above zero where it has none."""
    best = np.zeros(instance.classes)
    for _, first, last in instance.chunks():
        best[first:last] = instance.value[first:last].max(1, initial=0.0)
    return best


def _firsts(of: I32 | I64) -> I64:
    """Where each run of equal numbers begins."""
    return np.flatnonzero(np.concatenate([[True], of[1:] != of[:-1]])) if len(of) else np.zeros(0, np.int64)
