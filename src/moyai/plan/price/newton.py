"""Prices by Newton's method on the dual, smoothed by entropy.

Each class spreads its jobs over its options and "stay out" by a softmax whose temperature τ falls: the dual becomes
smooth, its second derivatives are known, and a few linear systems in the prices alone replace a programme with millions
of variables. A barrier of weight τ · κ · limit keeps prices positive (primal-dual, with a slack for each limit).
"""

from dataclasses import dataclass

import numpy as np

from moyai.plan.price.instance import F32, F64, I64, Bool, Instance, Prices, limits_taken, per_gpu, per_hour, prices_of
from moyai.plan.price.pieces import Piece, only, pieces

_KAPPA = 0.05
"""Share of a limit that the barrier holds back at τ = the price."""
_SPLIT = 2e-3
"""A class whose largest share is this near to one adds nothing to the second derivatives."""
_TINY = 1e-4
"""Smaller shares count alone, not in pairs: the derivatives stay definite without them."""
_DEARER = 1000
"""Times that a pair of shares costs what a product inside a dense matrix does."""
_LEAP = 100.0
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

    parts    what is answered for
    answers  one for each piece, (n, m) of each class's jobs; what is missing to one stays out
    largest  (classes,) the largest share, that of staying out among them; 1 for classes in no piece
    cost     (lengths, options) yen per GPU at the prices asked
    use      (prices,)  of each limit
    left     yen that the exact best answers leave the jobs; with the cost of the limits, the bound in single precision
    """

    parts: tuple[Piece, ...]
    answers: list[F32]
    largest: F32
    cost: F64
    use: F64
    left: float = 0.0

    @property
    def shares(self) -> F32:
        """(classes, options) the answers as a full table."""
        table = np.zeros((len(self.largest), self.cost.shape[1]), dtype=np.float32)
        for piece, x in zip(self.parts, self.answers, strict=True):
            table[np.ix_(piece.rows, piece.options)] = x
        return table

    def columns(self, kept: Bool, least: float) -> tuple[I64, I64, F64]:
        """Class, option and share of every share above `least` of the classes that `kept` says, by class and option."""
        found: list[tuple[I64, I64, F32]] = []
        for piece, x in zip(self.parts, self.answers, strict=True):
            some = np.flatnonzero(kept[piece.rows])
            if len(some) == len(piece.rows):
                row, column = np.nonzero(x > least)
                found.append((piece.rows[row], piece.options[column], x[row, column]))
            elif len(some):
                own = x[some]
                row, column = np.nonzero(own > least)
                found.append((piece.rows[some[row]], piece.options[column], own[row, column]))
        if not found:
            none = np.zeros(0, dtype=np.int64)
            return none, none, np.zeros(0)
        cls, option, share = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.argsort(cls * self.cost.shape[1] + option)
        return cls[order], option[order], share[order].astype(np.float64)

    def only(self, kept: Bool) -> "Softmax":
        """Room for the answers of the classes that `kept` (classes,) says."""
        parts = only(self.parts, kept)
        return Softmax(parts, [np.empty_like(p.value) for p in parts], np.ones_like(self.largest), self.cost, self.use)


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


def unit(instance: Instance, parts: tuple[Piece, ...] | None = None) -> float:
    """Yen that a GPU-hour of the queue is worth, in the mean: the measure of temperatures and of first prices."""
    total, hours = 0.0, 0.0
    work, gpus = instance.work, instance.gpus
    for piece in pieces(instance) if parts is None else parts:
        mine = gpus[piece.rows]
        total += float(mine @ piece.value.max(1))
        hours += float(mine.sum()) * float(work[piece.length])
    return total / hours if total > 0 else 1.0


def softmax(instance: Instance, parts: tuple[Piece, ...] | None = None) -> Softmax:
    """Room for the answers to an instance's prices."""
    parts = pieces(instance) if parts is None else parts
    return Softmax(
        parts=parts,
        answers=[np.empty_like(p.value) for p in parts],
        largest=np.ones(instance.classes, dtype=np.float32),
        cost=np.zeros((len(instance.hours), instance.options)),
        use=np.zeros(instance.options + instance.power.size),
    )


def respond(instance: Instance, flat: F64, tau: float, into: Softmax) -> None:
    """Write each class's smoothed answer to the prices at temperature `tau` (yen per GPU-hour) into `into`."""
    cost = per_gpu(instance, per_hour(instance, prices_of(instance, flat)))
    gpus = instance.gpus.astype(np.float32)
    wanted = np.zeros_like(cost)
    heat, left = tau * instance.work, 0.0
    scaled = (cost / heat[:, None]).astype(np.float32)
    for piece, answer in zip(into.parts, into.answers, strict=True):
        x = answer
        np.multiply(piece.value, np.float32(1 / heat[piece.length]), out=x)
        x -= scaled[piece.length, piece.options]
        top = np.maximum(x.max(1), 0)
        x -= top[:, None]
        np.maximum(x, -60, out=x)
        np.exp(x, out=x)
        out = np.exp(-top)
        total = x.sum(1) + out
        into.largest[piece.rows] = np.maximum(1, out) / total
        x *= (1 / total)[:, None]
        mine = gpus[piece.rows]
        wanted[piece.length, piece.options] += mine @ x
        left += float(mine.astype(np.float64) @ top) * float(heat[piece.length])
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
    cells = instance.options
    gpus, heat = instance.gpus, tau * instance.work
    found = np.zeros((cells, cells))
    for length in range(len(instance.hours)):
        inner = np.zeros((cells, cells))
        pairs: list[tuple[I64, F32]] = []
        for piece, x in zip(answer.parts, answer.answers, strict=True):
            if piece.length != length:
                continue
            split = np.flatnonzero((answer.largest[piece.rows] < 1 - _SPLIT) & (gpus[piece.rows] > 0))
            if not len(split):
                continue
            weight = (gpus[piece.rows[split]] / heat[length]).astype(np.float32)
            shares = x[split]
            inner[piece.options, piece.options] += weight @ shares
            shares *= np.sqrt(weight)[:, None]
            held = shares > _TINY * np.sqrt(weight)[:, None]
            many = held.sum(1)
            if int((many * many).sum()) * _DEARER < held.size * held.shape[1]:
                pairs.append(_pairs(held, shares, piece.options, cells))
            else:
                inner[piece.options[:, None], piece.options] -= shares.T @ shares
        if pairs:
            key, product = (np.concatenate(part) for part in zip(*pairs, strict=True))
            inner -= np.bincount(key, product, minlength=cells * cells).reshape(cells, cells)
        found += _by_limits(instance, inner, length)
    kw = instance.kw
    across = np.einsum("xsfb,sf->xsb", found.reshape(cells, sites, flavors, buckets), kw).reshape(cells, -1)
    corner = np.einsum("sfbx,sf->sbx", across.reshape(sites, flavors, buckets, -1), kw)
    corner = corner.reshape(sites * buckets, sites * buckets)
    return np.block([[found, across], [across.T, corner]])


def _pairs(held: Bool, shares: F32, options: I64, cells: int) -> tuple[I64, F32]:
    """Of each class every pair of shares that it holds: their place in (options, options), flat, and their product."""
    row, column = np.nonzero(held)
    many = held.sum(1)
    first = np.cumsum(many) - many
    one = np.repeat(np.arange(len(row)), many[row])
    start = np.cumsum(many[row]) - many[row]
    two = np.arange(len(one)) + (first[row] - start)[one]
    value, option = shares[row, column], options[column]
    return option[one] * cells + option[two], value[one] * value[two]


def _by_limits(instance: Instance, inner: F64, length: int) -> F64:
    """(cells, cells) of GPU-hours what `inner` (options, options) is of GPUs of one length."""
    sites, _, buckets = instance.shape
    cells = instance.options
    hours = np.tile(instance.hours[length], (sites, 1, 1))  # (rows, buckets, buckets)
    half = np.matmul(inner.reshape(cells, -1, buckets).transpose(1, 0, 2), hours)  # (rows, cells, buckets)
    turned = half.transpose(1, 0, 2).reshape(-1, buckets, cells)
    return np.matmul(hours.transpose(0, 2, 1), turned).reshape(cells, cells)


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
