"""The cheapest sites of a workflow's tasks when no site is ever full, by eliminating one task after another.

Shapes: T tasks, S sites, E edges, P pairs of tasks with an edge between them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Pairs = dict[tuple[int, int], F64]
"""(lower task, higher task) → (S, S) cost of what moves between them."""


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The site of each task (T,); no choice costs less than `bound`; `exact`: this one costs the bound."""

    sites: I64
    bound: float
    exact: bool


def pairs_of(edges: I64, move: F64) -> Pairs:
    """(E, 2) edges with (E, S, S) costs by pair of tasks, those between the same two tasks added up."""
    pairs: Pairs = {}
    for (a, b), cost in zip(edges.tolist(), move, strict=True):
        pair, table = ((a, b), cost) if a < b else ((b, a), cost.T)
        pairs[pair] = pairs[pair] + table if pair in pairs else table
    return pairs


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One task's elimination: a table of what it costs, for each combination of its and the other tasks' options."""

    task: int
    axis: int  # that of the task among the tasks of the table
    rest: list[int]  # the other tasks of the table, in rising order
    moves: F64  # the pairs that it takes in, on all axes of the table
    alone: tuple[slice | None, ...]  # puts the task's own cost on its axis
    before: tuple[
        tuple[int, tuple[slice | None, ...]], ...
    ]  # earlier steps whose result it takes in, and on which axes


@dataclass(frozen=True, slots=True, eq=False)
class Elimination:
    """A graph made ready, to be solved for many costs of its tasks. Tables have S options at the most on each axis."""

    options: tuple[I64, ...]  # of each task, its sites
    steps: tuple[Step, ...]
    plus: F64  # (T, S) what pairs that were left out cost at the least
    exact: bool  # whether none was

    @staticmethod
    def of(options: Sequence[I64], pairs: Pairs, sites: int, *, most_cells: int) -> "Elimination":
        """For these options of each task; with a table beyond `most_cells`, pairs are left out, see `cheapest`."""
        plus = np.zeros((len(options), sites))
        order, largest = _order(options, pairs)
        exact = largest <= most_cells
        if not exact:
            pairs, plus = _narrowed(pairs, options, plus, most_cells)
            order, _ = _order(options, pairs)
        scopes: list[tuple[tuple[int, ...], F64 | int]] = [
            (pair, cost[np.ix_(options[pair[0]], options[pair[1]])]) for pair, cost in pairs.items()
        ]
        steps: list[Step] = []
        for task in order:
            mine = [each for each in scopes if task in each[0]]
            scopes = [each for each in scopes if task not in each[0]]
            scope = tuple(sorted({task, *(i for tasks, _ in mine for i in tasks)}))
            moves = np.zeros([len(options[i]) for i in scope])
            before: list[tuple[int, tuple[slice | None, ...]]] = []
            for tasks, what in mine:
                axes = tuple(slice(None) if i in tasks else None for i in scope)
                if isinstance(what, int):
                    before.append((what, axes))
                else:
                    moves += what[axes]
            alone = tuple(slice(None) if i == task else None for i in scope)
            rest = [i for i in scope if i != task]
            scopes.append((tuple(rest), len(steps)))
            steps.append(Step(task, scope.index(task), rest, moves, alone, tuple(before)))
        return Elimination(tuple(options), tuple(steps), plus, exact)

    def solve(self, run: F64) -> Cheapest:
        """The cheapest sites for costs (T, S), finite at the options."""
        cost = run + self.plus
        least: list[F64] = []
        choices: list[I64] = []
        bound = 0.0
        for step in self.steps:
            table = step.moves + cost[step.task, self.options[step.task]][step.alone]
            for earlier, axes in step.before:
                table += least[earlier][axes]
            choices.append(table.argmin(axis=step.axis))
            least.append(table.min(axis=step.axis))
            if not step.rest:
                bound += float(least[-1])
        chosen = [0] * len(self.options)
        for step, choice in zip(reversed(self.steps), reversed(choices), strict=True):
            chosen[step.task] = int(choice[tuple([chosen[i] for i in step.rest])])
        sites = np.array([o[c] for o, c in zip(self.options, chosen, strict=True)], np.int64)
        return Cheapest(sites, bound, self.exact)


def cheapest(run: F64, pairs: Pairs, *, most_cells: int) -> Cheapest:
    """The sites for which Σ run + Σ move is least.

    run         (T, S)  cost of a task at a site; inf: it can't run there. Each task has a site where it can.
    pairs               finite costs of moves
    most_cells          of the largest table; a chain needs S², a graph of width w S^(w + 1). Where a table would be
                        larger, the pairs whose cost depends least on the sites count at the least they can cost: the
                        bound stays a bound, and the sites may not be the best.

    Of equal answers always the same one. Source: Bertelè & Brioschi 1972, "Nonserial Dynamic Programming"; options that
    another beats whatever the neighbours do go first (dead-end elimination, Goldstein 1994).
    """
    options = options_of(run)
    if _order(options, pairs)[1] > min(most_cells, run.shape[1] ** 3):
        options = _undominated(run, pairs, options)
    return Elimination.of(options, pairs, run.shape[1], most_cells=most_cells).solve(run)


def options_of(run: F64) -> list[I64]:
    """Of each task the sites where it can run."""
    return [np.flatnonzero(np.isfinite(row)) for row in run]


def _order(options: Sequence[I64], pairs: Iterable[tuple[int, int]]) -> tuple[list[int], int]:
    """In which order to eliminate, and the cells of the largest table: always the task whose table is smallest."""
    sizes = [len(o) for o in options]
    beside: list[set[int]] = [set() for _ in sizes]
    for a, b in pairs:
        beside[a].add(b)
        beside[b].add(a)

    def cells(task: int) -> int:
        return reduce(int.__mul__, (sizes[i] for i in beside[task]), sizes[task])

    waiting = {task: cells(task) for task in range(len(sizes))}
    order: list[int] = []
    largest = 1
    while waiting:
        task = min(waiting, key=lambda t: (waiting[t], t))
        largest = max(largest, waiting.pop(task))
        order.append(task)
        for other in beside[task]:
            beside[other] |= beside[task]
            beside[other] -= {task, other}
        for other in beside[task]:
            waiting[other] = cells(other)
    return order, largest


def _undominated(run: F64, pairs: Pairs, options: Sequence[I64]) -> list[I64]:
    """Each task's options without those that another option beats, whatever the neighbours' options are."""
    beside: list[list[tuple[int, F64]]] = [[] for _ in options]
    for (a, b), cost in pairs.items():
        beside[a].append((b, cost))
        beside[b].append((a, cost.T))
    kept = list(options)
    changed = True
    while changed:
        changed = False
        for task, mine in enumerate(kept):
            alone = run[task, mine]
            least = alone[:, None] - alone  # (a, b): how much more a costs than b, at the least
            for other, cost in beside[task]:
                table = cost[np.ix_(mine, kept[other])]
                least = least + (table[:, None] - table[None]).min(axis=2)
            left = mine[~(least > 0).any(axis=1)]
            if len(left) < len(mine):
                kept[task], changed = left, True
    return kept


def _narrowed(pairs: Pairs, options: Sequence[I64], plus: F64, most_cells: int) -> tuple[Pairs, F64]:
    """The pairs that leave no table larger than `most_cells`, and `plus` with the least that each other one costs."""
    inside = {(a, b): cost[np.ix_(options[a], options[b])] for (a, b), cost in pairs.items()}
    ranked = sorted(inside, key=lambda pair: (float(np.ptp(inside[pair])), pair))
    few, many = 0, len(ranked)  # how many of the first to leave out: too few, and enough
    while many - few > 1:
        middle = (few + many) // 2
        if _order(options, ranked[middle:])[1] <= most_cells:
            many = middle
        else:
            few = middle
    plus = plus.copy()
    for a, b in ranked[:many]:
        plus[a, options[a]] += inside[a, b].min(axis=1)
    return {pair: pairs[pair] for pair in sorted(ranked[many:])}, plus
