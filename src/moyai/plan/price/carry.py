"""Whole numbers near shares: what a limit is given too little or too much is carried on to the next class.

As in the halftones of a picture, where each point takes over the error of those before it: every class by itself is
within one of its shares, and the sum over many classes is near the sum of the shares on every limit.
"""

import numpy as np

from moyai.plan.price.instance import F64, I64, Instance

_GOLDEN = 0.6180339887498949


def rounded(cls: I64, expected: F64, seed: int) -> I64:
    """Whole numbers near `expected`, systematically inside each class: each within one, and so is the class's sum.

    cls       (columns,)  ascending
    expected  (columns,)  jobs, not whole
    The offset of a class comes from the golden ratio, so that neighbours differ most; `seed` shifts all of them.
    """
    if not len(cls):
        return np.zeros(0, dtype=np.int64)
    first = np.concatenate([[True], cls[1:] != cls[:-1]])
    group = np.cumsum(first) - 1
    total = np.cumsum(expected)
    before = (total - expected)[first][group]
    offset = np.mod((np.arange(int(first.sum())) + 1 + seed * 0.754877666) * _GOLDEN, 1.0)[group]
    high = total - before + offset
    return (np.floor(high + 1e-9) - np.floor(high - expected + 1e-9)).astype(np.int64)


def carried(instance: Instance, cls: I64, option: I64, expected: F64, prices: F64, *, most: int, seed: int = 0) -> I64:
    """Whole numbers near `expected` as `rounded` gives them, but for the `most` classes whose jobs are largest.

    These come one after the other, the largest first. Each rounds up where the classes before it took less than their
    shares, so that no limit is asked for much more or less than the shares take of it.

    cls, option, expected  (columns,) by class
    prices                 (prices,) above zero: what an error on each limit weighs
    """
    want = rounded(cls, expected, seed)
    if not len(cls) or most < 1:
        return want
    _, flavors, buckets = instance.shape
    first = np.flatnonzero(np.concatenate([[True], cls[1:] != cls[:-1]]))
    after = np.append(first[1:], len(cls))
    whole = np.floor(expected + 1e-6)
    part = np.maximum(expected - whole, 0.0)
    total = np.add.reduceat(part, first)
    size = instance.gang[cls[first]] * instance.work[instance.length[cls[first]]]
    order = np.argsort(-size, kind="stable")
    place, each = option // buckets, np.arange(buckets)
    error = np.zeros(len(prices))  # of each limit: what the shares take of it and the whole numbers do not
    for group in order[total[order] > 1e-9][:most].tolist():
        mine = slice(first[group], after[group])
        k, here = cls[mine][0], place[mine]
        site, flavor = here // flavors, here % flavors
        own = instance.hours[instance.length[k], flavor, option[mine] % buckets] * float(instance.gang[k])
        demand = np.concatenate([own, own * instance.kw[site, flavor][:, None]], axis=1)
        rows = np.concatenate(
            [here[:, None] * buckets + each, instance.options + site[:, None] * buckets + each], axis=1
        )
        priced = demand * prices[rows]
        lacking = (priced * error[rows]).sum(1) / np.maximum((priced * demand).sum(1), 1e-12) + part[mine]
        np.add.at(error, rows, demand * part[mine][:, None])
        ranked = np.argsort(-lacking, kind="stable")
        ranked = ranked[part[mine][ranked] > 1e-6]
        up = int(total[group])
        if up < len(ranked) and lacking[ranked[up]] > 1 - (total[group] - up):
            up += 1
        ranked = ranked[:up]
        np.subtract.at(error, rows[ranked], demand[ranked])
        want[mine] = whole[mine]
        want[first[group] + ranked] += 1
    return want
