"""A whole plan made better: jobs that were left out though they are worth their price go in before cheaper ones."""

import numpy as np

from moyai.plan.price.fill import Room, finish, largest_gang, pack, rank_of, settle
from moyai.plan.price.instance import F64, Columns, Instance, counted, worth

_DEAR = (0.3, 0.03, 0.1)
"""Only jobs that leave more than this part of their price ask, in turn: each wave that asks also disturbs."""
_BEST = 3
"""Options of a class that are tried in turn."""


def improve(instance: Instance, columns: Columns, cost: F64, *, rounds: int) -> Columns:
    """`columns`, or a plan that is worth more.

    In each round the jobs left out that the prices would place ask for one of their best options, and everything placed
    asks for what it has; all are packed by value per priced demand, and the rest of the room is filled.

    cost  (lengths, options) yen per GPU, at prices near the dual's best
    """
    best, value = columns, worth(instance, columns)
    since = 0
    fits = largest_gang(instance, instance.limits)
    for turn in range(rounds):
        room = Room(instance.limits.copy(), instance.jobs.copy())
        left = instance.jobs - counted(best.cls, best.count, instance.classes)
        waiting = np.flatnonzero(left > 0)
        length = instance.length[waiting]
        offered = instance.value[waiting]
        gain = np.where(
            (offered > 0) & (fits[length] >= instance.gang[waiting][:, None]),
            offered - cost[length].astype(np.float32),
            -np.inf,
        )
        nth = min(turn % _BEST, instance.options - 1)
        option = np.argpartition(-gain, nth, axis=1)[:, nth]
        dear = _DEAR[turn // _BEST % len(_DEAR)]
        some = gain[np.arange(len(waiting)), option] > dear * cost[length, option]
        cls = np.concatenate([best.cls, waiting[some]])
        wish = Columns(
            cls,
            np.concatenate([best.option, option[some]]),
            np.concatenate([best.count, left[waiting[some]]]),
        )
        rank = rank_of(instance, wish.cls, wish.option, cost)
        if turn % 2 == 0:
            rank = rank / np.sqrt(instance.gang[wish.cls])
        pack(instance, wish, rank, room)
        settle(instance, wish.cls, wish.option, cost, wanted=room.jobs.copy(), room=room)
        finish(instance, cost, room)
        made = room.columns()
        now = worth(instance, made)
        since += 1
        if now > value:
            best, value, since = made, now, 0
        if since >= _BEST * len(_DEAR):
            break
    return best
