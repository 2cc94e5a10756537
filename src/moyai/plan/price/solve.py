"""Prices, whole jobs and the bound of an instance: the one entry of this room."""

from dataclasses import dataclass, replace

import numpy as np

from moyai.plan.price.dual import dual
from moyai.plan.price.fill import dive, tightened
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
from moyai.plan.price.newton import Schedule, newton, softmax, unit


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work a plan is worth, counted in steps, so that it is the same on every machine.

    sample  classes of the first, cold search; all of them where there are no more
    cold    its temperatures
    joined  those of the search over all classes that follows it
    warm    those of the search over all classes from the last cycle's prices
    again   those of the searches between the stages of a dive
    easy    see `dive`
    dives   dives from the prices found; the best plan is kept
    rounds  of improvement of each plan at most
    cells   classes × options that these rounds look at together at most; one is always made
    close   relative gap at which nothing more is tried
    """

    sample: int = 1_500
    cold: Schedule = Schedule(first=0.2, last=0.0066, steps=60, close=0.03, ratio=0.4)
    joined: Schedule = Schedule(first=0.0066, last=0.002, steps=30, close=0.006)
    warm: Schedule = Schedule(first=0.0035, last=0.002, steps=20, close=0.006)
    again: Schedule = Schedule(first=0.0035, last=0.002, steps=6)
    easy: tuple[float, ...] = (0.02, 0.1)
    dives: int = 1
    rounds: int = 12
    cells: int = 8_000_000
    close: float = 0.0


QUICK = Effort(
    joined=Schedule(first=0.0066, last=0.0035, steps=6),
    warm=Schedule(first=0.005, last=0.005, steps=4),
    again=Schedule(first=0.005, last=0.0035, steps=2),
    easy=(0.02,),
    rounds=1,
)
"""For instances of more than `MANY_CELLS` classes × options, where chance evens out and each step costs more."""
MANY_CELLS = 2_000_000


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
    effort = effort or (Effort() if instance.value.size <= MANY_CELLS else QUICK)
    tight = tightened(instance)
    open_ = np.flatnonzero((tight.jobs > 0) & (tight.value.max(1, initial=-1.0) > 0))
    tight = subset(tight, open_) if len(open_) < tight.classes else tight
    if not tight.classes:
        none = np.zeros(0, dtype=np.int64)
        nothing = prices_of(instance, np.zeros(len(instance.limits)))
        return Answer(Columns(none, none, none), nothing, 0.0, 0.0)
    measure = unit(tight)
    answer = softmax(tight)
    steps = 0
    if warm is None or warm.capacity.shape != instance.capacity.shape:
        part = _sample(tight, effort.sample)
        found = newton(part, None, effort.cold, measure, softmax(part))
        steps += found.steps
        found = newton(tight, found.prices, effort.joined, measure, answer)
    else:
        found = newton(tight, warm, effort.warm, measure, answer)
    steps += found.steps
    bound = dual(tight, found.best).bound
    fair = per_gpu(tight, per_hour(tight, found.best))
    rounds = min(effort.rounds, max(1, effort.cells // max(1, tight.value.size)))
    best: Columns | None = None
    value = -1.0
    for seed in range(max(1, effort.dives)):
        if seed:
            newton(tight, found.prices, replace(effort.again, steps=0), measure, answer)
        columns = dive(tight, found.prices, answer, measure, again=effort.again, easy=effort.easy, seed=seed).columns()
        columns = improve(tight, columns, fair, rounds=rounds)
        now = worth(tight, columns)
        if best is None or now > value:
            best, value = columns, now
        if value >= bound * (1 - effort.close):
            break
    assert best is not None
    broken = excess(tight, best)
    assert not broken, broken
    assert value <= bound, "a plan is worth more than its bound"
    return Answer(Columns(open_[best.cls], best.option, best.count), found.best, value, bound, steps)


def _sample(instance: Instance, most: int) -> Instance:
    """About `most` classes that stand for all: systematically, likelier where a class wants more GPU-hours.

    The jobs of each are divided by its likelihood, so that the demand is the same in the mean.
    """
    if instance.classes <= 1.5 * most:
        return instance
    size = instance.gpus * instance.work[instance.length]
    likely = np.minimum(1.0, most * size / size.sum())
    likely = np.minimum(1.0, likely * most / likely.sum())
    total: F64 = np.cumsum(likely)
    rows = np.flatnonzero(np.floor(total + 0.5) > np.floor(total - likely + 0.5))
    part = subset(instance, rows)
    jobs = np.maximum(1, np.rint(part.jobs / likely[rows])).astype(np.int64)
    return replace(part, jobs=jobs)
