"""Attempts to stop for a job that finds no room: few, bounded, and only where it gains more than it loses."""

from collections.abc import Sequence

import numpy as np

from moyai.model.units import MICRO_YEN, MICROS_PER_HOUR
from moyai.plan.pack import Size, ranks_of, size_of
from moyai.plan.preempt import MOST_TRIES, MOST_VICTIMS, loss
from moyai.plan.problem import PoolKey
from moyai.plan.scale.auction import Round
from moyai.plan.scale.board import Board
from moyai.plan.scale.classes import NEVER, run_hours
from moyai.plan.scale.table import Scene, Table
from moyai.plan.types import Busy, Preemption, QueuedJob

SOON_US = 120_000_000
"""What ends within that time is waited for."""
_COLUMNS = 3
"""Columns of a class that are looked at, those first in which it gains most."""


def preemptions(scene: Scene, table: Table, found: Round) -> tuple[Preemption, ...]:
    """What to stop, within the policy's budget, for the classes that gain most by a start now and have none.

    Victims declared a checkpoint and have a lower priority, or the same one where the job has a deadline to meet; the
    lowest first, then those without a deadline, then those with the least unsaved work. The job must gain by the
    policy's factor what they lose.
    """
    policy = scene.problem.policy
    victims: dict[PoolKey, list[Busy]] = {}
    going: dict[PoolKey, list[Busy]] = {}  # at an end, or asked to stop: nobody need be stopped for whom they make room
    for busy in scene.board.held.values():
        if busy.end <= scene.now + SOON_US:
            going.setdefault((busy.site, busy.flavor), []).append(busy)
        elif busy.preemptible:
            victims.setdefault((busy.site, busy.flavor), []).append(busy)
    if not victims or policy.preemptions_per_cycle <= 0:
        return ()
    stops: list[Preemption] = []
    instance = table.instance
    now = instance.value.reshape(instance.classes, scene.columns.count, instance.shape[2])[:, :, 0]
    gains = (now - found.best[:, None]) * instance.gang[:, None]  # (classes, columns) yen, of one job by a start now
    gain = gains.max(1, initial=0.0)
    waiting = np.flatnonzero((found.left > 0) & (gain > 0))
    for cls in waiting[np.argsort(-gain[waiting], kind="stable")][:MOST_TRIES].tolist():
        row = int(table.rows[cls])
        kind = scene.classes.rows[row]
        assert kind is not None, "a class of the table has no jobs"
        job = next(iter(kind.jobs.values()))
        run_us = round(float(run_hours(scene.classes.run[row])) * MICROS_PER_HOUR)
        equals = int(scene.classes.latest[row]) != NEVER
        for column in np.argsort(-gains[cls], kind="stable")[:_COLUMNS].tolist():
            at = scene.columns.at(column)
            if at is None or now[cls, column] <= 0:
                break
            key = (at[0].profile.name, at[1].name)
            may = [b for b in victims.get(key, ()) if b.priority < job.order.priority + equals]
            may.sort(key=lambda b: (b.priority, b.deadline is not None, b.unsaved_us(scene.now), b.attempt))
            chosen = _enough(scene.board, key, job, going.get(key, ()), may[:MOST_VICTIMS])
            if chosen is None or len(chosen) > policy.preemptions_per_cycle - len(stops):
                continue
            lost = sum(loss(scene.problem, b, run_us) for b in chosen)
            gained = float(gains[cls, column]) * MICRO_YEN
            if gained > 0 and gained * 1_000 >= lost * policy.preempt_gain_milli:
                stops.extend(Preemption(b.attempt, job.job) for b in chosen)
                victims[key] = [b for b in victims[key] if b not in chosen]
                break
    return tuple(stops)


def _enough(
    board: Board, key: PoolKey, job: QueuedJob, going: Sequence[Busy], may: Sequence[Busy]
) -> list[Busy] | None:
    """Of `may`, in order, those that make room for a job beside what is `going`.

    None where all of them are not enough, or none is needed.
    """
    size, ranks = size_of(job.order.need), job.order.nodes
    pool = board.pools[key]
    free: dict[int, Size] = {}
    room = pool.room(size)
    chosen: list[Busy] = []
    for n, busy in enumerate((*going, *may)):
        if room >= ranks:
            break
        other = size_of(busy.need)
        for node in busy.nodes:
            old = free.get(node, pool.free[node])
            new = free[node] = (old[0] + other[0], old[1] + other[1], old[2] + other[2])
            room += ranks_of(*new, size) - ranks_of(*old, size)
        if n >= len(going):
            chosen.append(busy)
    return chosen if room >= ranks and chosen else None
