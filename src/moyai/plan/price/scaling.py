"""Prices by scaling: each rises by the logarithm of what is asked of its limit, sped up by Anderson's acceleration.

Where all jobs pay the same, a price that rises by τ · log(use / limit) makes a smoothed answer use just the limit
(Sinkhorn's step, for one price at a time). All prices take it at once, and the next ones are mixed from the last few so
that the steps would cancel. No matrix in the prices is made: the work is that of the answers.
Source: Anderson 1965, "Iterative procedures for nonlinear integral equations"; Walker & Ni 2011; Cuturi 2013.
"""

import numpy as np

from moyai.plan.price.instance import F64, Instance, Prices, prices_of, summed
from moyai.plan.price.newton import Found, Schedule, Softmax, respond
from moyai.plan.price.short import Short

_KEPT = 5
"""Steps of before from which the next prices are mixed."""
_PATIENCE = 20
"""Steps at one temperature after which it falls though the residual is still large."""
_MOST_RATIO = 50.0
"""What is asked of a limit counts as at most so many times it, and at least one part in so many."""
_LEAP = 20.0
"""No price moves further in a step than so many τ."""
_WILD = 2.0
"""Where the residual is so many times the smallest of this temperature, the steps before are forgotten."""
_RIDGE = 1e-8
_AGAIN = 10
"""Steps after which it is looked anew how far each price must go."""
_FAST = 3.0
"""No price goes faster than so many times the plain pace: its neighbours move as well."""


def scaled(
    instance: Instance,
    start: Prices | None,
    schedule: Schedule,
    measure: float,
    into: Softmax | Short,
) -> Found:
    """Prices near the least of the smoothed dual, as `newton` finds them; `into` is left with the answers to them.

    A step costs what the answers do. Where few prices are asked Newton's steps are fewer and end nearer. Short lists
    say nothing of options that would be better at other prices: there none goes further than the lists are true.
    """
    limits = instance.limits
    usable, size = limits > 1e-9, np.maximum(limits, 1e-9)
    pace = _plain(instance)
    tau, last = schedule.first * measure, schedule.last * measure
    y = 0.5 * measure * np.minimum(pace, 1.0) if start is None else start.flat()
    low, high = np.zeros_like(y), np.full_like(y, np.inf)
    if isinstance(into, Short):
        low, high = into.near(instance, _plain(instance))
        y = np.clip(y, low, high)
    bound, best = np.inf, y
    least, calm = np.inf, y  # of this temperature: the smallest residual, and where it was
    steps = here_for = 0
    moves: list[F64] = []
    ends: list[F64] = []
    while True:
        answered(instance, y, tau, into)
        here = into.left + float(y @ limits)
        if here < bound:
            bound, best = here, y
        off = float(np.abs((into.use - limits) * y)[usable].sum()) / max(abs(here), 1e-9)
        if off <= least:
            least, calm = off, y
        if steps >= schedule.steps or (tau <= last * 1.001 and off < schedule.close):
            if off > least:
                answered(instance, calm, tau, into)
            return Found(prices_of(instance, calm), prices_of(instance, best), bound, steps)
        if off > _WILD * least:
            y = calm
            moves.clear()
            ends.clear()
            answered(instance, y, tau, into)
        if tau > last * 1.001 and (off < 4 * schedule.close or here_for >= _PATIENCE):
            tau, here_for, least = max(tau * schedule.ratio, last), 0, np.inf
            moves.clear()
            ends.clear()
            answered(instance, y, tau, into)
        if here_for % _AGAIN == 0:
            pace = _pace(instance, tau, into)
        end = np.maximum(y + tau * pace * np.log(np.clip(into.use / size, 1 / _MOST_RATIO, _MOST_RATIO)), low)
        end = np.minimum(end, high)
        moves.append((end - y) / pace)
        ends.append(end)
        del moves[: -_KEPT - 1], ends[: -_KEPT - 1]
        wish = np.clip(_mixed(moves, ends), low, high) - y
        furthest = float(np.abs(wish / pace).max())
        y = y + wish * min(1.0, _LEAP * tau / max(furthest, 1e-12))
        steps += 1
        here_for += 1


def answered(instance: Instance, flat: F64, tau: float, into: Softmax | Short) -> None:
    """Write each class's smoothed answer to the prices into `into`."""
    if isinstance(into, Short):
        into.respond(instance, flat, tau)
    else:
        respond(instance, flat, tau, into)


def _mixed(moves: list[F64], ends: list[F64]) -> F64:
    """Where the steps of before, and the last one, would lead if they were mixed so that they nearly cancel."""
    if len(moves) < 2:
        return ends[-1]
    change, shift = np.diff(np.array(moves), axis=0), np.diff(np.array(ends), axis=0)
    square = change @ change.T
    square[np.diag_indices(len(square))] += _RIDGE * np.trace(square) + 1e-300
    mixed: F64 = ends[-1] - np.linalg.solve(square, change @ moves[-1]) @ shift
    return mixed


def _plain(instance: Instance) -> F64:
    """(prices,) what a price rises by where that of a GPU-hour rises by one: a kWh is dearer than what draws little."""
    _, flavors, buckets = instance.shape
    kw = np.maximum(instance.kw.sum(1) / flavors, 1e-6)
    return np.concatenate([np.ones(instance.options), np.repeat(1 / kw, buckets)])


def _pace(instance: Instance, tau: float, into: Softmax | Short) -> F64:
    """(prices,) by how much each price alone must rise for one part in e less use, in τ; within bounds of `_plain`.

    Most classes have all of their share in one option and don't move: the fewer do, the further a price must go.
    """
    moved = np.zeros(into.cost.shape)  # (lengths, options) GPUs that would go elsewhere, for a rise of one heat
    if isinstance(into, Short):
        if len(into.rows):
            gpus = instance.gpus[into.rows].astype(np.float32)
            moved = summed(into.key, into.share * (1 - into.share) * gpus[into.of], moved.size).reshape(moved.shape)
    else:
        gpus = instance.gpus.astype(np.float32)
        for piece, x in zip(into.parts, into.answers, strict=True):
            moved[piece.length, piece.options] += gpus[piece.rows] @ (x - x * x)
    moved /= instance.work[:, None]
    hours = np.einsum("tsfi,tfij->sfj", moved.reshape(-1, *instance.capacity.shape), instance.hours**2)
    kwh = np.einsum("sfj,sf->sj", hours, instance.kw**2)
    slope = np.concatenate([hours.ravel(), kwh.ravel()])
    plain = _plain(instance)
    return np.clip(into.use / np.maximum(slope, 1e-12), plain, _FAST * plain)
