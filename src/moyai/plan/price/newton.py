"""Prices by Newton's method on the dual, smoothed by entropy.

Each class spreads its jobs over its options and "stay out" by a softmax whose temperature τ falls: the dual becomes
smooth, its second derivatives are known, and a few linear systems in the prices alone replace a programme with millions
of variables. A barrier of weight τ · κ · limit keeps prices positive (primal-dual, with a slack for each limit).
"""

from dataclasses import dataclass

import numpy as np

from moyai.plan.price.instance import F32, F64, Instance, Prices, limits_taken, per_gpu, per_hour, prices_of

_KAPPA = 0.05
"""Share of a limit that the barrier holds back at τ = the price."""
_SPLIT = 2e-3
"""A class whose largest share is this near to one adds nothing to the second derivatives."""
_LEAP = 30.0
"""No price moves further in a step than so many τ."""
_DOWNHILL = 0.01
"""A clipped step must keep so much of the slope that the whole one has."""
_TURNED = 0.5
"""A step is shortened where the slope along it has turned by more than this share."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the temperature falls. Temperatures are parts of the mean value of a GPU-hour (`unit`)."""

    first: float
    last: float
    steps: int
    close: float = 0.01  # sum of |residual · price| as a part of the bound at which the search ends
    ratio: float = 0.5  # by which τ falls once the residual is within four times `close`


@dataclass(slots=True, eq=False)
class Softmax:
    """The smoothed answer of all classes to prices; its arrays are written over by the next.

    shares   (classes, options) of each class's jobs; what is missing to one stays out
    largest  (classes,) the largest share, that of staying out among them
    cost     (lengths, options) yen per GPU at the prices asked
    use      (prices,)  of each limit
    left     yen that the exact best answers leave the jobs; with the cost of the limits, the bound in single precision
    """

    shares: F32
    largest: F32
    cost: F64
    use: F64
    left: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Where Newton's method stopped.

    prices  the last ones, which the shares answer to
    best    those with the lowest bound on the way
    bound   theirs, in single precision
    steps   linear systems solved
    """

    prices: Prices
    best: Prices
    bound: float
    steps: int


def unit(instance: Instance) -> float:
    """Yen that a GPU-hour of the queue is worth, in the mean: the measure of temperatures and of first prices."""
    total, hours = 0.0, 0.0
    work, gpus = instance.work, instance.gpus
    for length, first, last in instance.blocks():
        best = np.maximum(instance.value[first:last].max(1, initial=0), 0)
        total += float(gpus[first:last] @ best)
        hours += float(gpus[first:last][best > 0].sum()) * float(work[length])
    return total / hours if total > 0 else 1.0


def softmax(instance: Instance) -> Softmax:
    """Room for the answers to an instance's prices."""
    return Softmax(
        shares=np.empty_like(instance.value),
        largest=np.ones(instance.classes, dtype=np.float32),
        cost=np.zeros((len(instance.hours), instance.options)),
        use=np.zeros(instance.options + instance.power.size),
    )


def respond(instance: Instance, flat: F64, tau: float, into: Softmax) -> None:
    """Write each class's smoothed answer to the prices at temperature `tau` (yen per GPU-hour) into `into`."""
    cost = per_gpu(instance, per_hour(instance, prices_of(instance, flat)))
    gpus = instance.gpus.astype(np.float32)
    wanted = np.zeros_like(cost)
    work, left = instance.work, 0.0
    scaled: list[F32] = [(cost[t] / (tau * work[t])).astype(np.float32) for t in range(len(work))]
    for length, first, last in instance.chunks():
        x = into.shares[first:last]
        np.multiply(instance.value[first:last], np.float32(1 / (tau * work[length])), out=x)
        x -= scaled[length]
        top = np.maximum(x.max(1), 0)
        x -= top[:, None]
        np.maximum(x, -60, out=x)
        np.exp(x, out=x)
        out = np.exp(-top)
        total = x.sum(1) + out
        into.largest[first:last] = np.maximum(1, out) / total
        x *= (1 / total)[:, None]
        mine = gpus[first:last]
        wanted[length] += mine @ x
        left += float(mine.astype(np.float64) @ top) * tau * float(work[length])
    into.cost, into.left = cost, left
    into.use = limits_taken(instance, wanted)


def newton(instance: Instance, start: Prices | None, schedule: Schedule, measure: float, into: Softmax) -> Found:
    """Prices near the least of the smoothed dual, from `start` or from nothing. `measure` is the unit of temperature.

    `into` is left with the answers to the prices found. Steps are the only bound on the work: the same on each machine.
    """
    limits = instance.limits
    usable, size = limits > 1e-9, np.maximum(limits, 1e-6)
    tau, last = schedule.first * measure, schedule.last * measure
    cells = instance.options
    if start is None:
        y = np.full(len(limits), 0.5 * measure)
        y[cells:] = 0.005 * measure
    else:
        y = start.flat()
    y = np.maximum(y, 0.02 * tau)
    bound, best = np.inf, y
    slack: F64 | None = None
    move, give = np.zeros(0), np.zeros(0)  # the last step, in prices and slacks
    length, slope, steps = 0.0, 0.0, 0
    while True:
        respond(instance, y, tau, into)
        here = into.left + float(y @ limits)
        if here < bound:
            bound, best = here, y
        beta = tau * _KAPPA * size
        if slack is None:
            slack = np.maximum(beta / y, 1e-3 * size)
        residual = beta / y - limits + into.use
        if length > 0.05:
            turned = -float(residual @ move)
            if turned > _TURNED * slope:
                shorter = max(0.2, slope / (slope + turned))
                y, slack = y - (1 - shorter) * move, slack - (1 - shorter) * give
                move, give = move * shorter, give * shorter
                length, slope = length * shorter, slope * shorter
                continue
        off = float(np.abs(residual * y)[usable].sum()) / max(abs(here), 1e-9)
        if steps >= schedule.steps or (tau <= last * 1.001 and off < schedule.close):
            return Found(prices_of(instance, y), prices_of(instance, best), bound, steps)
        if off < 4 * schedule.close and tau > last:
            tau = max(tau * schedule.ratio, last)
            respond(instance, y, tau, into)
            beta = tau * _KAPPA * size
            residual = beta / y - limits + into.use
        system = curvature(instance, tau, into)
        diagonal = np.arange(len(y))
        system[diagonal, diagonal] += slack / y + 1e-9 * float(np.abs(system[diagonal, diagonal]).max())
        step = _solved(system, residual)
        wish = np.clip(y + step, 0.1 * y, 10 * (y + tau)) - y
        if float(residual @ wish) < _DOWNHILL * float(residual @ step):  # clipping turned it: shorten all of it instead
            wish = step * min(1.0, 0.9 / max(float((-step / y).max()), 1e-12))
        shrink = min(1.0, _LEAP * tau / max(float(np.abs(wish[:cells]).max()), 1e-12))
        move = wish * shrink
        give = np.maximum(slack + shrink * (beta - slack * y - slack * step) / y, 0.05 * slack) - slack
        slope, length = max(float(residual @ move), 1e-9), 1.0
        y, slack = y + move, slack + give
        steps += 1


def curvature(instance: Instance, tau: float, answer: Softmax) -> F64:
    """(prices, prices) minus the derivative of `answer.use` by the prices: symmetric, not negative definite."""
    sites, flavors, buckets = instance.shape
    cells, rows = instance.options, sites * flavors
    gpus, work = instance.gpus, instance.work
    found = np.zeros((cells, cells))
    for length, first, last in instance.blocks():
        split = first + np.flatnonzero((answer.largest[first:last] < 1 - _SPLIT) & (gpus[first:last] > 0))
        if not len(split):
            continue
        weight = (gpus[split] / (tau * work[length])).astype(np.float32)
        shares = answer.shares[split]
        diagonal = weight @ shares
        kept = np.flatnonzero(diagonal > 1e-7 * diagonal.max())
        shares = shares[:, kept] * np.sqrt(weight)[:, None]
        inner = np.zeros((cells, cells))
        inner[np.ix_(kept, kept)] = -(shares.T @ shares)
        inner[kept, kept] += diagonal[kept]
        hours = np.tile(instance.hours[length], (sites, 1, 1))  # (rows, buckets, buckets)
        half = np.matmul(inner.reshape(cells, rows, buckets).transpose(1, 0, 2), hours)  # (rows, cells, buckets)
        turned = half.transpose(1, 0, 2).reshape(rows, buckets, cells)
        found += np.matmul(hours.transpose(0, 2, 1), turned).reshape(cells, cells)
    kw = instance.kw
    across = np.einsum("xsfb,sf->xsb", found.reshape(cells, sites, flavors, buckets), kw).reshape(cells, -1)
    corner = np.einsum("sfbx,sf->sbx", across.reshape(sites, flavors, buckets, -1), kw)
    corner = corner.reshape(sites * buckets, sites * buckets)
    return np.block([[found, across], [across.T, corner]])


def _solved(system: F64, right: F64) -> F64:
    """The answer of a system that single precision may have made singular: a ridge is added until it is not."""
    ridge, diagonal = 1e-6, np.arange(len(right))
    own = np.abs(system[diagonal, diagonal])
    while ridge < 1e9:
        try:
            np.linalg.cholesky(system)  # refuses what is not positive definite, which a step downhill needs
            return np.linalg.solve(system, right).astype(np.float64, copy=False)
        except np.linalg.LinAlgError:
            system[diagonal, diagonal] += ridge * own + 1e-12 * own.max()
            ridge *= 30
    raise ArithmeticError("no step can be found: the system in the prices holds a figure that is not finite")
