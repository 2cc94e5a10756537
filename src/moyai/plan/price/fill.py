"""Whole jobs from shares: large gangs first, then the prices again for what is left, then the small ones.

A gang that comes late finds its hours cut up by small jobs, whatever it pays for them; so each stage fixes its gangs
near their shares of the smoothed answer, and the next one is priced beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from moyai.plan.price.carry import carried
from moyai.plan.price.instance import (
    F64,
    I64,
    Bool,
    Columns,
    Instance,
    Prices,
    counted,
    demand_of,
    limits_taken,
    summed,
)
from moyai.plan.price.newton import Found, Schedule, Softmax, newton
from moyai.plan.price.scaling import scaled
from moyai.plan.price.short import Short

STAGES = (64, 8, 1)
"""Gangs of at least so many GPUs are fixed in each stage, those of the stages before it apart."""

_SHARE = 1e-3
"""A smaller share of a class is no candidate."""
_OUT = 0.7
"""A class whose shares hold so much of a job beyond a whole number asks for one more: the cheapest is dropped."""
_LIGHT = 1e-3
"""Yen that a limit weighs at least where errors of rounding are compared."""
_CANDIDATE_ROUNDS = 8
_FREE_ROUNDS = 4
_FREE_CLASSES = 4_000
"""Classes that are looked at in full in a round, those that are worth most per GPU-hour first."""
_PACK_ROUNDS = 7


@dataclass(slots=True, eq=False)
class Room:
    """What a plan under way still has, and what it placed.

    limits  (prices,)   as in `Instance.limits`, never below zero
    jobs    (classes,)  that still wait
    """

    limits: F64
    jobs: I64
    placed: list[Columns] = field(default_factory=list[Columns])

    def columns(self) -> Columns:
        """All that was placed, each class and option once, in their order."""
        if not self.placed:
            none = np.zeros(0, dtype=np.int64)
            return Columns(none, none, none)
        cls = np.concatenate([c.cls for c in self.placed])
        option = np.concatenate([c.option for c in self.placed])
        count = np.concatenate([c.count for c in self.placed])
        width = int(option.max(initial=0)) + 1
        key, where = np.unique(cls * width + option, return_inverse=True)
        total = np.zeros(len(key), dtype=np.int64)
        np.add.at(total, where, count)
        return Columns(key // width, key % width, total)


def largest_gang(instance: Instance, limits: F64) -> F64:
    """(lengths, options) GPUs that one job could at most have in each option under the limits."""
    sites, _, buckets = instance.shape
    cells = instance.options
    capacity = limits[:cells].reshape(instance.capacity.shape)
    power = limits[cells:].reshape(sites, buckets)
    hours = instance.hours
    inverse = np.divide(1.0, hours, out=np.full_like(hours, np.inf), where=hours > 0)
    kw = np.maximum(instance.kw, 1e-12)
    both = np.minimum(capacity, power[:, None, :] / kw[:, :, None])  # (sites, flavors, buckets) GPU-hours
    with np.errstate(invalid="ignore"):
        fits = both[None, :, :, None, :] * inverse[:, None]
    fits[np.isnan(fits)] = np.inf  # no room, but none taken either
    least: F64 = fits.min(-1)
    return least.reshape(len(hours), cells)


def pack(instance: Instance, wish: Columns, rank: F64, room: Room) -> I64:
    """Take the wishes in falling `rank`, each as far as it still fits beside those before it. Returns how many of each.

    The sequential greedy is the fixed point of a map that falls where its argument rises; from "everybody gets all" its
    values bracket the answer, and the first, third, fifth … are plans that fit. So one pass over all wishes at once
    replaces a loop over jobs, and where the passes run out the plan is still sound. Wishes of one class must not sum
    to more than its waiting jobs.
    """
    if not len(wish.cls):
        return np.zeros(0, dtype=np.int64)
    sites, flavors, buckets = instance.shape
    cells = instance.options
    order = np.lexsort((-rank, wish.option // buckets))
    cls, option, want = wish.cls[order], wish.option[order], wish.count[order].astype(np.float64)
    place = option // buckets
    site, flavor = place // flavors, place % flavors
    own = instance.hours[instance.length[cls], flavor, option % buckets] * instance.gang[cls][:, None]
    drawn = own * instance.kw[site, flavor][:, None]
    power = room.limits[cells:].reshape(sites, buckets)
    asked = np.stack([summed(site, drawn[:, b] * want, sites) for b in range(buckets)], axis=1)
    short: Bool = np.max(asked > power, axis=1)
    tight = np.flatnonzero(short[site])  # elsewhere all wishes together fit under the cap
    tight = tight[np.lexsort((-rank[order[tight]], site[tight]))]
    lines = [_line(np.arange(len(own)), own, place, room.limits[:cells].reshape(-1, buckets))]
    if len(tight):
        lines.append(_line(tight, drawn[tight], site[tight], power))
    accepted = want
    for _ in range(_PACK_ROUNDS):
        taken = want.copy()
        for line in lines:
            taken[line.rows] = np.minimum(taken[line.rows], line.fitting(accepted[line.rows]))
        same = np.array_equal(taken, accepted)
        accepted = taken
        if same:
            break
    count = np.zeros(len(order), dtype=np.int64)
    count[order] = accepted.astype(np.int64)
    _place(instance, Columns(wish.cls, wish.option, count), room)
    return count


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """Wishes in the order in which they take of one kind of limit, those of each limit together.

    rows     (n,)          which wishes they are
    demand   (n, buckets)  of one job
    free     (n, buckets)  of the limit; infinite where nothing is taken of it
    inverse  (n, buckets)  of the demand
    first    (n,)          the first of those with the same limit
    """

    rows: I64
    demand: F64
    free: F64
    inverse: F64
    first: I64

    def fitting(self, accepted: F64) -> F64:
        """(n,) how many jobs of each wish fit beside what is accepted of those before it."""
        used = self.demand * accepted[:, None]
        before = np.cumsum(used, axis=0)
        before -= used
        before -= before[self.first]
        left = self.free - before
        left *= self.inverse
        fits: F64 = np.floor(left.min(1) * (1 + 1e-12))
        return np.maximum(fits, 0.0)


def _line(rows: I64, demand: F64, group: I64, limits: F64) -> _Line:
    """The line of wishes whose groups, ascending, are rows of `limits`."""
    some = demand > 0
    inverse = np.divide(1.0, demand, out=np.ones_like(demand), where=some)
    return _Line(rows, demand, np.where(some, limits[group], np.inf), inverse, np.searchsorted(group, group))


def settle(instance: Instance, cls: I64, option: I64, cost: F64, *, wanted: I64, room: Room) -> None:
    """Rounds in which each class asks for the best of its candidates that still fits, until none gets anything.

    cls, option  (columns,) the candidates; wanted (classes,) jobs that may be placed in all
    """
    fits = largest_gang(instance, room.limits)[instance.length[cls], option] >= instance.gang[cls]
    some = fits & (wanted[cls] > 0)
    cls, option = cls[some], option[some]
    left = instance.value[cls, option] - cost[instance.length[cls], option]
    order = np.lexsort((-left, cls))
    cls, option = cls[order], option[order]
    rank = rank_of(instance, cls, option, cost)
    length = instance.length[cls]
    for _ in range(_CANDIDATE_ROUNDS):
        fits = largest_gang(instance, room.limits)[length, option] >= instance.gang[cls]
        alive = np.flatnonzero(fits & (wanted[cls] > 0))
        if not len(alive):
            return
        cls, option, rank, length = cls[alive], option[alive], rank[alive], length[alive]
        best = np.concatenate([[True], cls[1:] != cls[:-1]])
        mine = cls[best]
        got = pack(instance, Columns(mine, option[best], wanted[mine]), rank[best], room)
        wanted[mine] -= got
        if not got.any():
            return


def finish(instance: Instance, cost: F64, room: Room) -> None:
    """Rounds over all options of the classes worth most per GPU-hour that still wait: what the candidates left free."""
    work = instance.work
    for _ in range(_FREE_ROUNDS):
        fits = largest_gang(instance, room.limits)
        waiting = np.flatnonzero(room.jobs > 0)
        if len(waiting):
            open_ = fits[instance.length[waiting]].max(1) >= instance.gang[waiting]
            waiting = waiting[open_]
        if len(waiting) > _FREE_CLASSES:
            hourly = instance.value[waiting].max(1) / work[instance.length[waiting]]
            waiting = np.sort(waiting[np.argpartition(-hourly, _FREE_CLASSES)[:_FREE_CLASSES]])
        if not len(waiting):
            return
        length, open_options = instance.length[waiting], np.flatnonzero((fits >= 1).any(0))
        value = instance.value[np.ix_(waiting, open_options)]
        usable = (value > 0) & (fits[:, open_options][length] >= instance.gang[waiting][:, None])
        left = np.where(usable, value - cost[:, open_options].astype(np.float32)[length], -np.inf)
        choice = left.argmax(1)
        some = usable[np.arange(len(waiting)), choice]
        cls, option = waiting[some], open_options[choice[some]]
        got = pack(instance, Columns(cls, option, room.jobs[cls]), rank_of(instance, cls, option, cost), room)
        if not got.any():
            return


def dive(
    instance: Instance,
    start: Prices,
    answer: Softmax | Short,
    measure: float,
    *,
    again: Schedule,
    easy: Sequence[float],
    in_turn: int,
    seed: int,
) -> Room:
    """A whole plan from prices and the shares that answer them. `answer` may be written over.

    again    how prices are found again between the stages
    easy     in turn, the part of a whole job that the shares of small gangs may lack at most to be fixed at once
    in_turn  classes of each stage that are rounded one after the other, the largest jobs first
    seed     shifts the rounding of the others
    """
    weight = start.flat() + _LIGHT
    room = Room(instance.limits.copy(), instance.jobs.copy())
    prices, above = start, np.iinfo(np.int64).max
    fair = answer.cost
    for least in STAGES:
        mine = np.flatnonzero((instance.gang >= least) & (instance.gang < above) & (room.jobs > 0))
        if len(mine):
            if room.placed:
                prices = searched(_rest(instance, room, above), prices, again, measure, answer).prices
            if least > 1:
                kept = (instance.gang >= least) & (instance.gang < above)
                _fix(instance, kept, answer, weight, in_turn=in_turn, seed=seed, room=room)
        above = least
    for most in easy:
        _fix_easy(instance, answer, most=most, room=room)
        waiting = room.jobs > 0
        if not waiting.any():
            return room
        answer = answer.only(waiting)
        prices = searched(_rest(instance, room, np.iinfo(np.int64).max), prices, again, measure, answer).prices
    _fix(instance, room.jobs > 0, answer, weight, in_turn=in_turn, seed=seed, room=room)
    _settle_rest(instance, answer, room)
    finish(instance, fair, room)
    return room


def searched(instance: Instance, start: Prices, schedule: Schedule, measure: float, into: Softmax | Short) -> Found:
    """Prices from `start` on: by Newton's method, or over short lists by scaling."""
    if isinstance(into, Short):
        return scaled(instance, start, schedule, measure, into)
    return newton(instance, start, schedule, measure, into)


def _rest(instance: Instance, room: Room, above: int) -> Instance:
    """The instance of the gangs below `above` in what is left."""
    cells = instance.options
    return replace(
        instance,
        jobs=np.where(instance.gang < above, room.jobs, 0),
        capacity=room.limits[:cells].reshape(instance.capacity.shape),
        power=room.limits[cells:].reshape(instance.power.shape),
    )


def _fix_easy(instance: Instance, answer: Softmax | Short, *, most: float, room: Room) -> None:
    """Place the whole jobs that the shares hold, and those that lack at most `most` of one."""
    cls, option, share = answer.columns(room.jobs > 0, _SHARE)
    want = np.floor(share * room.jobs[cls] + most).astype(np.int64)
    asked = counted(cls, want, instance.classes)
    want[asked[cls] > room.jobs[cls]] = 0
    some = want > 0
    wish = Columns(cls[some], option[some], want[some])
    pack(instance, wish, rank_of(instance, wish.cls, wish.option, answer.cost), room)


def _fix(
    instance: Instance, kept: Bool, answer: Softmax | Short, weight: F64, *, in_turn: int, seed: int, room: Room
) -> None:
    """Place the classes that `kept` says near their shares: rounded first, then what of it found no room elsewhere."""
    cls, option, share = answer.columns(kept & (room.jobs > 0), _SHARE)
    expected = share * room.jobs[cls]
    total = summed(cls, expected, instance.classes)
    whole = np.minimum(np.ceil(total - _OUT), room.jobs)
    expected *= (whole / np.maximum(total, 1e-12))[cls]
    want = carried(instance, cls, option, expected, weight, most=in_turn, seed=seed)
    too_many = counted(cls, want, instance.classes) > room.jobs  # where an offset is all but one
    want = np.where(too_many[cls], np.floor(expected).astype(np.int64), want)
    target = counted(cls, want, instance.classes)
    target = np.minimum(target, room.jobs)
    some = want > 0
    wish = Columns(cls[some], option[some], want[some])
    got = pack(instance, wish, rank_of(instance, wish.cls, wish.option, answer.cost), room)
    target -= counted(wish.cls, got, instance.classes)
    settle(instance, cls, option, answer.cost, wanted=np.maximum(target, 0), room=room)


def _settle_rest(instance: Instance, answer: Softmax | Short, room: Room) -> None:
    """The candidates of all classes that still wait: of a short list all of it, as nobody looks at the table again."""
    cls, option, _ = answer.columns(room.jobs > 0, _SHARE if isinstance(answer, Softmax) else -1.0)
    settle(instance, cls, option, answer.cost, wanted=room.jobs.copy(), room=room)


def rank_of(instance: Instance, cls: I64, option: I64, cost: F64) -> F64:
    """Value per priced demand, times the root of the GPU-hours: by value alone, large jobs would starve."""
    size = instance.gang[cls] * instance.work[instance.length[cls]]
    priced = np.maximum(cost[instance.length[cls], option], 1e-3)
    return instance.value[cls, option] / priced * np.sqrt(size)


def _place(instance: Instance, columns: Columns, room: Room) -> None:
    """Note what was accepted, and take it off the room."""
    some = columns.count > 0
    if not some.any():
        return
    columns = Columns(columns.cls[some], columns.option[some], columns.count[some])
    room.placed.append(columns)
    room.limits = np.maximum(room.limits - limits_taken(instance, demand_of(instance, columns)), 0.0)
    room.jobs = room.jobs - counted(columns.cls, columns.count, instance.classes)
    assert (room.jobs >= 0).all(), "more jobs of a class were placed than wait"
