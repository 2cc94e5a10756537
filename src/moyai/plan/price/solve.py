"""Prices, whole jobs and the bound of an instance: the one entry of this room."""

from dataclasses import dataclass, replace

import numpy as np

from moyai.plan.price.dual import dual
from moyai.plan.price.fill import dive, largest_gang, searched
from moyai.plan.price.improve import improve
from moyai.plan.price.instance import (
    F64,
    I64,
    Columns,
    Instance,
    Prices,
    check,
    excess,
    per_gpu,
    per_hour,
    prices_of,
    subset,
    worth,
)
from moyai.plan.price.newton import Found, Schedule, Softmax, newton, softmax, unit
from moyai.plan.price.pieces import pieces
from moyai.plan.price.rotate import rotate
from moyai.plan.price.scaling import scaled
from moyai.plan.price.short import Short, best_values, bound_of, shortened


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work a plan is worth, counted in steps, so that it is the same on every machine.

    sample  classes of the first, cold search; all of them where there are no more
    cold    its temperatures
    joined  those of the search over all classes that follows it
    warm    those of the search over all classes from the last cycle's prices
    again   those of the searches between the stages of a dive
    easy    see `dive`
    in_turn classes of each stage of a dive that are rounded one after the other
    dives   dives from the prices found; the best plan is kept
    rounds  of improvement of each plan at most
    cells   classes × options that these rounds look at together at most; one is always made, where `rounds` allows it
    close   relative gap at which nothing more is tried
    turns   searches for rings in each size of jobs at most, before and after these rounds
    margin  options of a class that lie within so much of its best one make its short list; a part of the mean value of
            a GPU-hour. 0: all options are looked at in every step, and prices found by Newton's method, not by scaling
    """

    sample: int = 3_000
    cold: Schedule = Schedule(first=0.2, last=0.003, steps=60, close=0.01, ratio=0.4)
    joined: Schedule = Schedule(first=0.0035, last=0.0005, steps=30, close=0.006)
    warm: Schedule = Schedule(first=0.0035, last=0.0005, steps=30, close=0.006)
    again: Schedule = Schedule(first=0.001, last=0.0005, steps=6)
    easy: tuple[float, ...] = (0.02,)
    in_turn: int = 1_000
    dives: int = 1
    rounds: int = 12
    cells: int = 8_000_000
    close: float = 0.001
    turns: int = 60
    margin: float = 0.0


QUICK = Effort(
    cold=Schedule(first=0.1, last=0.002, steps=60, close=0.01, ratio=0.3),
    joined=Schedule(first=0.002, last=0.001, steps=3, close=0.004),
    warm=Schedule(first=0.001, last=0.0005, steps=6, close=0.001),
    again=Schedule(first=0.001, last=0.0005, steps=4, close=0.001),
    easy=(),
    in_turn=300,
    rounds=1,
    turns=0,
)
"""For instances of more than `MANY_CELLS` classes × options, where chance evens out and each step costs more."""
MANY_CELLS = 2_000_000
SINGLES = Effort(again=Schedule(first=0.0005, last=0.0005, steps=4, close=0.003), dives=2)
"""Without gangs a dive takes less and more is asked of the plan: a second one where the first isn't within `close`."""
HUGE = replace(
    QUICK,
    sample=6_000,
    cold=Schedule(first=0.1, last=0.003, steps=100, close=0.01, ratio=0.3),
    joined=Schedule(first=0.003, last=0.003, steps=15, close=0.01),
    warm=Schedule(first=0.0015, last=0.0015, steps=12, close=0.005),
    again=Schedule(first=0.0015, last=0.0015, steps=6, close=0.005),
    rounds=0,
    margin=0.03,
)
"""For more than `HUGE_CELLS`: prices in thousands, of which a matrix would take seconds to make and to solve."""
_LISTS = 3
"""Times that short lists are made in a cold start: prices go no further than they are true."""
HUGE_CELLS = 50_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A plan of counts and its certificate.

    columns  jobs by class and option
    prices   those of the bound; the next cycle starts from them
    value    yen that the columns are worth
    bound    yen; no plan of the instance is worth more
    steps    linear systems that the prices took
    """

    columns: Columns
    prices: Prices
    value: float
    bound: float
    steps: int = 0

    @property
    def gap(self) -> float:
        """(bound − value) / max(|bound|, 1 yen)."""
        return (self.bound - self.value) / max(abs(self.bound), 1.0)

    def counts(self, instance: Instance) -> I64:
        """(classes, options) the columns as a full table."""
        table = np.zeros(instance.value.shape, dtype=np.int64)
        table[self.columns.cls, self.columns.option] = self.columns.count
        return table


def solve(instance: Instance, warm: Prices | None = None, effort: Effort | None = None) -> Answer:
    """Whole jobs for every class and option, near the best, with a bound that no plan exceeds.

    `warm`: the prices of the last cycle; None where there was none or the fleet has another shape. The same arguments
    give the same plan. Raises BadInstance.
    """
    check(instance)
    effort = effort or effort_for(instance)
    fits = largest_gang(instance, instance.limits) + 1e-6
    if warm is not None and warm.capacity.shape != instance.capacity.shape:
        warm = None
    priced = (_by_scaling if effort.margin else _by_newton)(instance, warm, effort, fits)
    if priced is None:
        none = np.zeros(0, dtype=np.int64)
        nothing = prices_of(instance, np.zeros(len(instance.limits)))
        return Answer(Columns(none, none, none), nothing, 0.0, 0.0)
    found, answer, measure, bound = priced.found, priced.answer, priced.measure, priced.bound
    fair = per_gpu(instance, per_hour(instance, found.best))
    rounds = min(effort.rounds, max(1, effort.cells // instance.value.size))
    best: Columns | None = None
    value = -1.0
    for seed in range(max(1, effort.dives)):
        if seed:
            searched(instance, found.prices, replace(effort.again, first=effort.again.last, steps=0), measure, answer)
        room = dive(
            instance,
            found.prices,
            answer,
            measure,
            again=effort.again,
            easy=effort.easy,
            in_turn=effort.in_turn // 4**seed,  # so that each dive differs
            seed=seed,
        )
        columns = room.columns()
        columns = rotate(instance, columns, fair, turns=effort.turns)
        columns = improve(instance, columns, fair, rounds=rounds)
        columns = rotate(instance, columns, fair, turns=effort.turns)
        now = worth(instance, columns)
        if best is None or now > value:
            best, value = columns, now
        if value >= bound * (1 - effort.close):
            break
    assert best is not None
    broken = excess(instance, best)
    assert not broken, broken
    assert value <= bound, "a plan is worth more than its bound"
    return Answer(best, found.best, value, bound, priced.steps)


@dataclass(frozen=True, slots=True, eq=False)
class _Priced:
    """Prices, the smoothed answers to the last of them, the unit of temperature, and the bound at the best of them."""

    found: Found
    answer: Softmax | Short
    measure: float
    bound: float
    steps: int


def _by_newton(instance: Instance, warm: Prices | None, effort: Effort, fits: F64) -> _Priced | None:
    """Prices over all options; None where nothing can be placed."""
    parts = pieces(instance, fits)
    if not parts:
        return None
    measure = unit(instance, parts)
    answer = softmax(instance, parts)
    if warm is None:
        part = _sample(instance, np.sort(np.concatenate([piece.rows for piece in parts])), effort.sample)
        first = newton(part, None, effort.cold, measure, softmax(part, pieces(part, fits)))
        found = newton(instance, first.prices, effort.joined, measure, answer)
        steps = first.steps + found.steps
    else:
        found = newton(instance, warm, effort.warm, measure, answer)
        steps = found.steps
    return _Priced(found, answer, measure, dual(instance, found.best, parts).bound, steps)


def _by_scaling(instance: Instance, warm: Prices | None, effort: Effort, fits: F64) -> _Priced | None:
    """Prices over short lists of options; None where nothing can be placed."""
    best = best_values(instance)
    rows = np.flatnonzero((best > 0) & (instance.jobs > 0))
    if not len(rows):
        return None
    gpus = instance.gpus[rows]
    measure = float(gpus @ best[rows]) / float(gpus @ instance.work[instance.length[rows]])
    if warm is None:
        part = _sample(instance, rows, effort.sample)
        found = scaled(part, None, effort.cold, measure, softmax(part, pieces(part, fits)))
        searches, start, steps = [effort.joined] + [effort.warm] * (_LISTS - 1), found.prices, found.steps
    else:
        searches, start, steps = [effort.warm], warm, 0
    answer = shortened(instance, start, effort.margin * measure, fits)
    found = scaled(instance, start, searches[0], measure, answer)
    for search in searches[1:]:
        steps += found.steps
        answer = shortened(instance, found.prices, effort.margin * measure, fits)
        found = scaled(instance, found.prices, search, measure, answer)
    return _Priced(found, answer, measure, bound_of(instance, found.best, fits), steps + found.steps)


def effort_for(instance: Instance) -> Effort:
    """What an instance of its size is worth: a plan within a second or so, of a million jobs within ten."""
    cells = instance.value.size
    if cells > MANY_CELLS:
        return QUICK if cells <= HUGE_CELLS else HUGE
    return Effort() if instance.gang.max(initial=1) > 1 else SINGLES


def _sample(instance: Instance, rows: I64, most: int) -> Instance:
    """About `most` of `rows` that stand for all: systematically, likelier where a class wants more GPU-hours.

    The jobs of each are divided by its likelihood, so that the demand is the same in the mean.
    """
    if len(rows) <= 1.5 * most:
        return subset(instance, rows)
    size = (instance.gpus * instance.work[instance.length])[rows]
    likely = np.minimum(1.0, most * size / size.sum())
    likely = np.minimum(1.0, likely * most / likely.sum())
    total: F64 = np.cumsum(likely)
    some = np.floor(total + 0.5) > np.floor(total - likely + 0.5)
    part = subset(instance, rows[some])
    jobs = np.maximum(1, np.rint(part.jobs / likely[some])).astype(np.int64)
    return replace(part, jobs=jobs)
