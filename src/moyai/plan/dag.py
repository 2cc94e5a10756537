"""Where each task of a workflow runs, when data moves along its edges and a site has only so much to give.

Shapes: T tasks, S sites, E edges. Costs are in one unit of the caller's; so are demand and capacity.
"""

from dataclasses import dataclass

import numpy as np

from moyai.plan.dag_exact import F64, I64, Elimination, Pairs, cheapest, options_of, pairs_of
from moyai.plan.dag_search import SLACK, Search, largest_first, polished, repaired

MOST_CELLS = 2_000_000
"""Cells of the largest table where no site is full: 16 MB."""
PRICED_CELLS = 20_000
"""The same in each round of prices, which is one of many."""
ROUNDS = 30
"""How often the prices of capacity are changed, at the most."""
STEPS = 150
"""How many steps the search goes on after it first finds nothing better."""
NEAR = 0.25
"""The part of all demand that may be beyond capacity in an answer that is worth a repair."""
PROMISING = 0.1
"""How much dearer than the best, in parts, an answer may be that is worth a polish."""
GOOD = 1e-4
"""The gap, in parts of the cost, at which nothing more is tried."""


class NoPlace(Exception):
    """A task has no site where it can run, or nothing was found in which every site has enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Dag:
    """A workflow's tasks, what each costs where, and what moves between them.

    Raises ValueError for shapes that don't agree, an edge of a task with itself or to no task, NaN anywhere, a cost of
    −inf, a move that isn't finite, and a demand or capacity below 0.
    """

    run: F64  # (T, S) cost of a task at a site; inf: it can't run there
    edges: I64  # (E, 2) the task that sends, the task that receives
    move: F64  # (E, S, S) cost of an edge's data from the row's site to the column's
    demand: F64  # (T,) what a task takes of its site
    capacity: F64  # (S,) what a site has for all its tasks together; inf: as much as is asked for

    def __post_init__(self) -> None:
        tasks, sites = self.run.shape
        if self.edges.shape != (len(self.move), 2) or self.move.shape[1:] != (sites, sites):
            raise ValueError(f"{self.move.shape} moves for {self.edges.shape} edges and {sites} sites")
        if self.demand.shape != (tasks,) or self.capacity.shape != (sites,):
            raise ValueError(f"{self.demand.shape} demands for {tasks} tasks, {self.capacity.shape} for {sites} sites")
        if len(self.edges) and not 0 <= self.edges.min() <= self.edges.max() < tasks:
            raise ValueError(f"an edge leads to a task that isn't one of the {tasks}")
        if (self.edges[:, 0] == self.edges[:, 1]).any():
            raise ValueError("an edge leads from a task to itself")
        if not (self.run > -np.inf).all() or not np.isfinite(self.move).all():
            raise ValueError("a cost is NaN or −inf, or a move's isn't finite")
        if not np.isfinite(self.demand).all() or not (self.demand >= 0).all() or not (self.capacity >= 0).all():
            raise ValueError("a demand or a capacity is below 0 or no number")


@dataclass(frozen=True, slots=True)
class DagPlan:
    """The site of each task, what it costs, and a bound: no choice that fits costs less."""

    sites: tuple[int, ...]
    cost: float
    bound: float

    @property
    def gap(self) -> float:
        """How much dearer it is than the bound, in parts of the bound's size, which counts as 1 at the least."""
        return (self.cost - self.bound) / max(abs(self.bound), 1.0)


def place_dag(dag: Dag, *, rounds: int = ROUNDS, steps: int = STEPS, most_cells: int = MOST_CELLS) -> DagPlan:
    """The cheapest site of each task, no site taking more than it has.

    Where that binds no site and the graph is narrow (a chain and a tree always are), the answer is the best: cost and
    bound are equal. Otherwise each site gets a price for its capacity. The best answer at those prices bounds every
    answer from below; it is repaired until it fits and then polished, and the prices move by Polyak's step. The best
    answer of all is searched on from. Raises NoPlace where a task can't run anywhere, or nothing that fits was found.
    Source: Lagrangian relaxation; Polyak 1969 for the step; Geoffrion 1974.
    """
    tasks, sites = dag.run.shape
    if not tasks:
        return DagPlan((), 0.0, 0.0)
    room = dag.capacity * (1 + SLACK)
    run = np.where(dag.demand[:, None] > room, np.inf, dag.run)
    for task in np.flatnonzero(~np.isfinite(run).any(axis=1)):
        raise NoPlace(f"task {task} can run at none of the {sites} sites: none allows it, or none is large enough")
    pairs = pairs_of(dag.edges, dag.move)
    search = Search.of(run, pairs, dag.demand, room)
    free = cheapest(run, pairs, most_cells=most_cells)
    if free.exact and (search.use(free.sites) <= room).all():
        return DagPlan(tuple(free.sites.tolist()), search.cost(free.sites), min(free.bound, search.cost(free.sites)))
    cells = min(most_cells, PRICED_CELLS)
    starts = [fits for fits in (repaired(search, free.sites), largest_first(search)) if fits is not None]
    start = min(starts, key=search.cost, default=None)
    best, bound = _priced(search, pairs, dag.capacity, start=start, bound=free.bound, rounds=rounds, most_cells=cells)
    if best is None:
        raise NoPlace(f"no choice for the {tasks} tasks was found in which each of the {sites} sites has enough")
    if search.cost(best) - bound > GOOD * abs(bound):
        best = polished(search, best, steps=steps)
    cost = search.cost(best)
    return DagPlan(tuple(best.tolist()), cost, min(bound, cost))


def _priced(
    search: Search, pairs: Pairs, capacity: F64, *, start: I64 | None, bound: float, rounds: int, most_cells: int
) -> tuple[I64 | None, float]:
    """(the best choice found that fits, if any; the best bound), by changing the prices of capacity."""
    tight = np.isfinite(capacity)
    price = np.zeros(len(capacity))
    graph = Elimination.of(options_of(search.run), pairs, len(capacity), most_cells=most_cells)
    best = None if start is None else polished(search, start)
    cost = np.inf if best is None else search.cost(best)
    top, step, stale = -np.inf, 1.0, 0
    for turn in range(rounds):
        answer = graph.solve(search.run + search.demand[:, None] * price)
        value = answer.bound - float(price[tight] @ capacity[tight])
        stale = 0 if value > top + 1e-5 * abs(top) else stale + 1
        top = max(top, value)
        over = np.where(tight, search.use(answer.sites) - capacity, 0.0)
        near = float(np.maximum(over, 0.0).sum()) <= NEAR * float(search.demand.sum())
        fits = repaired(search, answer.sites) if near or best is None or 2 * turn > rounds else None
        if fits is not None and (best is None or search.cost(fits) < cost + PROMISING * abs(cost)):
            fits = polished(search, fits)
            if (found := search.cost(fits)) < cost:
                best, cost = fits, found
        slope = np.where((price > 0) | (over > 0), over, 0.0)
        if not slope.any() or cost - max(bound, top) <= GOOD * abs(cost):
            break
        if stale >= 4:
            step, stale = step / 2, 0
        goal = cost if np.isfinite(cost) else top + 0.1 * abs(top) + 1.0
        price = np.maximum(price + step * max(goal - value, 0.0) / float(slope @ slope) * slope, 0.0)
    return best, max(bound, top)
