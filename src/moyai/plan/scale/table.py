"""The queue and the fleet in arrays over time: an instance of `plan.price`, made anew for each look.

A job's value is told against staying out, which is worth less than its worst option by what the job is worth: so even
a late job is run. Waiting and lateness count for a day ahead at most: what lies behind is lost whatever is decided.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moyai.model.ids import FlavorName, SiteName, TenantName
from moyai.model.site import Flavor
from moyai.model.units import MICRO_YEN, MICROS_PER_HOUR
from moyai.model.workload import Need
from moyai.plan.price.instance import F32, F64, I64, Instance
from moyai.plan.problem import LEAST_LEFT, Problem
from moyai.plan.scale.board import UNCAPPED_W, Board
from moyai.plan.scale.classes import NEVER, SHORTEST_H, STEP, Classes, run_hours
from moyai.plan.scale.shapes import Columns, units_of
from moyai.plan.types import Policy

EDGES_H = np.array([0.0, 0.5, 1.5, 4.5, 13.5, 40.5, 168.0])
"""Edges of the start buckets, in hours from now; those behind the policy's horizon are left out."""
LENGTH_STEPS = 2
"""Steps of run time that share a row of `Instance.hours`."""
DAY_H = 24.0
"""Hours ahead for which waiting and lateness count."""
_FAR_H = 1e8
"""A latest start further off than that is none."""
_CHUNK = 1024
_W_PER_KW = 1_000
_MG_PER_KG = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The queue and the fleet at one look."""

    classes: Classes
    board: Board
    columns: Columns
    problem: Problem  # without a queue: time, policy, links

    @property
    def now(self) -> int:
        """The time of the look."""
        return self.problem.now


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """An instance, and what joins it to the classes.

    rows   (classes,) the row in `Classes` of each class of the instance
    cost   (classes, columns) yen for nodes, electricity, carbon and egress
    edges  (buckets + 1,) hours from now
    held   (attempts, 3) of what runs: column, units, and the hours that it runs on
    """

    instance: Instance
    rows: I64
    cost: F64
    edges: F64
    held: F64


def table(scene: Scene, boost: Mapping[TenantName, float]) -> Table:
    """The classes that have jobs and at least one column, in the order of their lengths.

    boost  by how much the jobs of a tenant weigh more or less than its policy says
    """
    classes, columns = scene.classes, scene.columns
    edges = _edges(scene.problem.policy)
    many = len(classes.rows)
    rows = np.flatnonzero(classes.jobs[:many] > 0)
    feasible = classes.stack().feasible if classes.shapes else np.zeros((0, columns.count), np.bool_)
    rows = rows[feasible[classes.shape[rows]].any(1)] if len(rows) else rows
    length = classes.run[rows] // LENGTH_STEPS
    order = np.argsort(length, kind="stable")
    rows, length = rows[order], length[order]
    lengths, length = np.unique(length, return_inverse=True) if len(rows) else (np.zeros(1, np.int64), length)
    value, cost = _values(scene, rows, boost, edges)
    capacity, power, kw, held = _limits(scene.board, columns, scene.now, edges)
    hours = _hours(SHORTEST_H * STEP ** (lengths * LENGTH_STEPS + LENGTH_STEPS // 2).astype(np.float64), edges)
    instance = Instance(
        value=value,
        jobs=classes.jobs[rows].copy(),
        gang=classes.units[rows],
        length=length.astype(np.int64),
        hours=np.repeat(hours[:, None], columns.width, axis=1),
        capacity=capacity,
        power=power,
        kw=kw,
    )
    return Table(instance, rows, cost, edges, held)


def yen_per_kwh(columns: Columns, policy: Policy) -> F64:
    """(sites,) electricity and the carbon in it."""
    return np.array(
        [
            s.profile.price_micro_yen_per_kwh / MICRO_YEN
            + s.profile.carbon_mg_per_kwh / _MG_PER_KG * policy.carbon_micro_yen_per_kg / MICRO_YEN
            for s in columns.sites
        ]
    )


def _edges(policy: Policy) -> F64:
    horizon = policy.horizon_us / MICROS_PER_HOUR
    inner = EDGES_H[horizon > EDGES_H]
    return np.append(inner, max(horizon, 1e-3))


def _values(scene: Scene, rows: I64, boost: Mapping[TenantName, float], edges: F64) -> tuple[F32, F64]:
    """(classes, columns × buckets) yen per unit against staying out; (classes, columns) yen that a job costs."""
    classes, columns, now, policy = scene.classes, scene.columns, scene.now, scene.problem.policy
    buckets = len(edges) - 1
    value = np.full((len(rows), columns.count * buckets), -1.0, np.float32)
    cost = np.zeros((len(rows), columns.count))
    if not len(rows):
        return value, cost
    stack, shape = classes.stack(), classes.shape[rows]
    kwh = np.repeat(yen_per_kwh(columns, policy), columns.width)
    hourly = stack.nodes + stack.kw * kwh  # (shapes, columns) yen
    begun = (stack.delay - stack.covered)[:, :, None] + edges[:-1]
    begun = begun.reshape(len(hourly), -1).astype(np.float32)  # (shapes, options) hours from now
    waited, barred = np.minimum(begun, DAY_H), np.repeat(~stack.feasible, buckets, axis=1)
    lift = np.array([boost.get(t, 1.0) for t in classes.tenants])[classes.tenant[rows]]
    weight, run = classes.weight[rows] * lift, run_hours(classes.run[rows])
    worth = policy.value_micro_yen_per_node_hour / MICRO_YEN * weight * run
    wait = (policy.wait_micro_yen_per_hour / MICRO_YEN * weight).astype(np.float32)
    late = (policy.late_micro_yen_per_hour / MICRO_YEN * weight).astype(np.float32)
    latest = np.where(classes.latest[rows] == NEVER, 1e9, (classes.latest[rows] - now) / MICROS_PER_HOUR)
    units = classes.units[rows].astype(np.float32)
    for first in range(0, len(rows), _CHUNK):
        part = slice(first, min(len(rows), first + _CHUNK))
        own = shape[part]
        left = np.maximum(run[part, None] - stack.covered[own], run[part, None] / LEAST_LEFT)
        cost[part] = left * hourly[own] + stack.egress[own]
        gain = waited[own]
        gain *= -wait[part, None]
        gain -= np.repeat(cost[part].astype(np.float32), buckets, axis=1)
        due = np.flatnonzero(latest[part] < _FAR_H)
        if len(due):
            mine = first + due
            start = begun[own[due]]
            if policy.miss_milli:
                missed = (worth[mine] * policy.miss_milli / 1_000).astype(np.float32)
                gain[due] -= np.where(start > latest[mine, None], missed[:, None], np.float32(0))
            start -= np.maximum(latest[mine], 0).astype(np.float32)[:, None]
            gain[due] -= late[mine, None] * np.clip(start, 0, DAY_H)
        last = np.where(stack.feasible[own], gain[:, buckets - 1 :: buckets], np.inf).min(1)
        # Staying out is worth what the last option is, without the job's worth.
        gain += (worth[part] - last).astype(np.float32)[:, None]
        gain /= units[part, None]
        np.copyto(gain, np.float32(-1.0), where=barred[own])
        value[part] = gain
    return value, cost


def _limits(board: Board, columns: Columns, now: int, edges: F64) -> tuple[F64, F64, F64, F64]:
    """Capacity, power and kw as in `Instance`, beside what runs if that ends as expected; and `Table.held`."""
    sites, width, buckets = len(columns.sites), columns.width, len(edges) - 1
    spans = np.diff(edges)
    capacity = np.zeros((sites, width, buckets))
    power, kw = np.full((sites, buckets), np.inf), np.zeros((sites, width))
    index: dict[tuple[SiteName, FlavorName], int] = {}
    kinds: dict[int, Flavor] = {}
    for s, view in enumerate(columns.sites):
        for f, flavor in enumerate(columns.flavors[s]):
            index[view.profile.name, flavor.name] = s * width + f
            kinds[s * width + f] = flavor
            units = flavor.accelerators or flavor.cores
            capacity[s, f] = flavor.count * units * spans
            kw[s, f] = (flavor.peak_w - flavor.idle_w) / max(units, 1) * view.profile.pue_milli / 1_000 / _W_PER_KW
    where: list[int] = []
    held: list[int] = []
    ends: list[int] = []
    drawn: list[int] = []
    sizes: dict[tuple[Need, int], int] = {}
    for busy in board.held.values():
        column = index.get((busy.site, busy.flavor))
        if column is None:
            continue
        units = sizes.get((busy.need, column))
        if units is None:
            units = sizes[busy.need, column] = units_of(busy.need, kinds[column])
        where.append(column)
        held.append(units * len(busy.nodes))
        ends.append(busy.end)
        drawn.append(busy.power_w)
    left = np.clip((np.array(ends, np.float64) - now) / MICROS_PER_HOUR, 0, None)
    used = np.clip(np.minimum(left[:, None], edges[1:]) - edges[:-1], 0, None)  # (attempts, buckets) hours
    column = np.array(where, np.int64)
    flat = capacity.reshape(-1, buckets)
    for b in range(buckets):
        flat[:, b] -= np.bincount(column, np.array(held) * used[:, b], minlength=len(flat))
    np.maximum(capacity, 0, out=capacity)
    for s, view in enumerate(columns.sites):
        spare = board.cap_w(view.profile.name)
        if spare != UNCAPPED_W:
            mine = column // width == s
            taken = (np.array(drawn)[mine, None] * used[mine]).sum(0) if mine.any() else 0.0
            power[s] = np.maximum((spare * spans - taken) / _W_PER_KW, 0)
    return capacity, power, kw, np.column_stack([column, held, left])


def _hours(run: F64, edges: F64) -> F64:
    """(lengths, buckets, buckets) hours that a run started in the first bucket takes in the second; none behind."""
    end = edges[:-1] + run[:, None]
    low = np.maximum(edges[:-1][None, :], edges[:-1][:, None])
    used = np.minimum(end[:, :, None], edges[1:]) - low
    return np.maximum(used, 0)
