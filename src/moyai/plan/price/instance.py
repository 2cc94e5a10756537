"""A queue and a fleet in arrays: classes of equal jobs, and for each of them every site, flavor and start bucket.

Time is cut into buckets that grow towards the horizon. An option is a site, a flavor and a start bucket; its index is
`(site · flavors + flavor) · buckets + bucket`. Money is in yen, work in GPU-hours, energy in kWh.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

CHUNK = 1024
"""Classes that are looked at together: their options stay in the processor's cache."""

_TOLERANCE = 1e-9
"""Rounding of sums that is not called an excess: parts of a limit, and GPU-hours."""


class BadInstance(ValueError):
    """The arrays contradict one another or hold a figure that means nothing. The message names the array."""


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """What is to be placed, and where it may be.

    value     (classes, options)  yen for each GPU of a job if run there; 0 or less: it may not or should not
    jobs      (classes,)          jobs that wait
    gang      (classes,)          GPUs of one job, all at one site and flavor
    length    (classes,)          row of `hours`, ascending: classes of one length stand together
    hours     (lengths, flavors, buckets, buckets)  GPU-hours that one GPU of a job of a length on a flavor, started in
              the first bucket, takes in the second; what passes the horizon counts in the last one
    capacity  (sites, flavors, buckets)  GPU-hours to be had
    power     (sites, buckets)    kWh to be had; infinite where the site has no cap
    kw        (sites, flavors)    of one busy GPU, at the feed
    """

    value: F32
    jobs: I64
    gang: I64
    length: I64
    hours: F64
    capacity: F64
    power: F64
    kw: F64

    @property
    def shape(self) -> tuple[int, int, int]:
        """(sites, flavors, buckets)."""
        sites, flavors, buckets = self.capacity.shape
        return sites, flavors, buckets

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.value.shape[0]

    @property
    def options(self) -> int:
        """How many options each class has, those that it may not take among them."""
        return self.value.shape[1]

    @property
    def gpus(self) -> F64:
        """(classes,) GPUs that the waiting jobs of each class want."""
        return (self.jobs * self.gang).astype(np.float64)

    @property
    def work(self) -> F64:
        """(lengths,) GPU-hours of one GPU of a job on the flavor where that is most: the measure of its value."""
        most: F64 = self.hours.sum(3).max((1, 2))
        return np.maximum(most, 1e-9)

    @property
    def limits(self) -> F64:
        """(prices,) capacity and then power, flat. Without a cap, twice what all its GPUs draw stands for it."""
        drawn = 2 * _drawn(self, self.capacity) + 1.0
        return np.concatenate([self.capacity.ravel(), np.minimum(self.power, drawn).ravel()])

    def blocks(self) -> Iterator[tuple[int, int, int]]:
        """(length, first class, class after the last) of every length that has classes."""
        first = 0
        for length in range(len(self.hours)):
            last = first + int((self.length == length).sum())
            if first < last:
                yield length, first, last
            first = last

    def chunks(self) -> Iterator[tuple[int, int, int]]:
        """The blocks, cut into pieces of at most `CHUNK` classes."""
        for length, first, last in self.blocks():
            for at in range(first, last, CHUNK):
                yield length, at, min(last, at + CHUNK)


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """What a GPU-hour and a kWh are worth to the queue beyond what they cost; never negative.

    capacity  (sites, flavors, buckets)  yen per GPU-hour
    power     (sites, buckets)           yen per kWh
    """

    capacity: F64
    power: F64

    def flat(self) -> F64:
        """(prices,) in the order of `Instance.limits`."""
        return np.concatenate([self.capacity.ravel(), self.power.ravel()])


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Whole jobs by class and option, only where there are some. Three arrays of one length."""

    cls: I64
    option: I64
    count: I64


def prices_of(instance: Instance, flat: F64) -> Prices:
    """Prices from one flat array, in the order of `Instance.limits`."""
    cells = instance.options
    return Prices(
        flat[:cells].reshape(instance.capacity.shape).copy(), flat[cells:].reshape(instance.power.shape).copy()
    )


def per_hour(instance: Instance, prices: Prices) -> F64:
    """(sites, flavors, buckets) yen for an hour of one GPU: the GPU itself, and the power that it draws."""
    return prices.capacity + instance.kw[:, :, None] * prices.power[:, None, :]


def per_gpu(instance: Instance, hourly: F64) -> F64:
    """(lengths, options) yen for one GPU of a job over its whole run, at the prices of an hour."""
    cost = np.einsum("tfij,sfj->tsfi", instance.hours, hourly)
    return cost.reshape(len(instance.hours), -1)


def taken(instance: Instance, wanted: F64) -> F64:
    """(sites, flavors, buckets) GPU-hours used by `wanted` (lengths, options) GPUs."""
    cells = wanted.reshape(len(instance.hours), *instance.capacity.shape)
    return np.einsum("tsfi,tfij->sfj", cells, instance.hours)


def limits_taken(instance: Instance, wanted: F64) -> F64:
    """(prices,) what `wanted` (lengths, options) GPUs use of each limit."""
    hours = taken(instance, wanted)
    return np.concatenate([hours.ravel(), _drawn(instance, hours).ravel()])


def summed(index: NDArray[np.signedinteger], weight: NDArray[np.generic], length: int) -> F64:
    """(length,) the weights that stand at each index, added up."""
    return np.bincount(index, weight, minlength=length).astype(np.float64)


def counted(index: I64, count: I64, length: int) -> I64:
    """(length,) the counts that stand at each index, added up."""
    return np.bincount(index, count, minlength=length).astype(np.int64)


def demand_of(instance: Instance, columns: Columns) -> F64:
    """(lengths, options) GPUs of the columns."""
    cells = instance.length[columns.cls] * instance.options + columns.option
    weights = (columns.count * instance.gang[columns.cls]).astype(np.float64)
    return summed(cells, weights, len(instance.hours) * instance.options).reshape(len(instance.hours), -1)


def worth(instance: Instance, columns: Columns) -> float:
    """Yen that the columns are worth."""
    gpus = columns.count * instance.gang[columns.cls]
    return float((instance.value[columns.cls, columns.option].astype(np.float64) * gpus).sum())


def excess(instance: Instance, columns: Columns) -> str:
    """What the columns break: a limit, the number of waiting jobs, an option that may not be taken. "": nothing."""
    if (columns.count < 0).any():
        return "a negative number of jobs"
    limits, used = instance.limits, limits_taken(instance, demand_of(instance, columns))
    over = used > limits * (1 + _TOLERANCE) + _TOLERANCE
    if over.any():
        return f"limit {int(np.flatnonzero(over)[0])} is exceeded"
    placed = counted(columns.cls, columns.count, instance.classes)
    if (placed > instance.jobs).any():
        return f"class {int(np.flatnonzero(placed > instance.jobs)[0])} has more jobs placed than wait"
    if (instance.value[columns.cls, columns.option][columns.count > 0] <= 0).any():
        return "an option that may not be taken has jobs"
    return ""


def subset(instance: Instance, rows: I64) -> Instance:
    """The instance of some classes, in their order."""
    return replace(
        instance,
        value=instance.value[rows],
        jobs=instance.jobs[rows],
        gang=instance.gang[rows],
        length=instance.length[rows],
    )


def check(instance: Instance) -> None:
    """Raise BadInstance where shapes disagree or a figure is not a number, negative, or out of order."""
    sites, flavors, buckets = instance.shape
    classes, lengths = instance.classes, len(instance.hours)
    wanted = {
        "value": (classes, sites * flavors * buckets),
        "jobs": (classes,),
        "gang": (classes,),
        "length": (classes,),
        "hours": (lengths, flavors, buckets, buckets),
        "power": (sites, buckets),
        "kw": (sites, flavors),
    }
    for name, shape in wanted.items():
        found = getattr(instance, name).shape
        if found != shape:
            raise BadInstance(f"{name}: its shape is {found}; the others make it {shape}")
    for name in ("value", "hours", "capacity", "kw"):
        if not _finite(getattr(instance, name)):
            raise BadInstance(f"{name}: a figure is infinite or not a number")
    if np.isnan(instance.power).any():
        raise BadInstance("power: a figure is not a number; write inf where there is no cap")
    for name in ("jobs", "hours", "capacity", "power", "kw"):
        if (getattr(instance, name) < 0).any():
            raise BadInstance(f"{name}: a figure is negative")
    if classes and (instance.gang.min() < 1):
        raise BadInstance("gang: a job has no GPU")
    if classes and (instance.length.min() < 0 or instance.length.max() >= lengths):
        raise BadInstance(f"length: an index is outside of 0…{lengths - 1}, the rows of hours")
    if (np.diff(instance.length) < 0).any():
        raise BadInstance("length: classes must stand in ascending order of length")


def _finite(table: F32 | F64) -> bool:
    """Whether all figures are finite; some rows at a time, as a second table of all options may be too large."""
    return all(bool(np.isfinite(table[at : at + CHUNK]).all()) for at in range(0, len(table), CHUNK))


def _drawn(instance: Instance, hours: F64) -> F64:
    """(sites, buckets) kWh drawn by the GPU-hours."""
    return np.einsum("sfj,sf->sj", hours, instance.kw)
