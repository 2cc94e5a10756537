"""Jobs of one size change places in rings, where all of them together gain.

Jobs of one gang and length take the same of every limit, wherever they run. Who of them stands where is therefore a
transport problem between classes and the places that the plan holds: its best answer is whole, and it is found by
turning rings of negative cost. "Out of the plan" and what is still free are places of a ring as well.
Source: negative-cycle cancelling; Ahuja, Magnanti & Orlin, Network Flows, 1993, ch. 9.6.
"""

import numpy as np

from moyai.plan.price.fill import largest_gang
from moyai.plan.price.instance import F64, I64, Columns, Instance, demand_of, limits_taken

_FAR = 1e30
_PASSES = 24
"""Of the search for rings; they are looked for in every fourth."""
_LEAST = 1e-7
"""A ring must gain this part of the best value of a GPU in its group."""


def rotate(instance: Instance, columns: Columns, cost: F64, *, turns: int) -> Columns:
    """`columns`, or a plan worth more whose jobs of each size stand at nearly the same places.

    cost   (lengths, options) yen per GPU; only the pace depends on it
    turns  searches for rings in each size at most
    """
    if turns < 1 or not len(columns.cls):
        return columns
    free = np.maximum(instance.limits - limits_taken(instance, demand_of(instance, columns)), 0.0)
    counts = np.zeros(instance.value.shape, dtype=np.int64)
    np.add.at(counts, (columns.cls, columns.option), columns.count)
    sizes, size = np.unique(np.stack([instance.length, instance.gang]), axis=1, return_inverse=True)
    size = size.ravel()
    for at in range(sizes.shape[1] - 1, -1, -1):
        rows = np.flatnonzero((size == at) & (instance.jobs > 0))
        if counts[rows].any():
            group = _Group(instance, rows, counts, free, cost)
            for _ in range(turns):
                if not group.turn():
                    break
            counts[np.ix_(rows, group.nodes)] = group.held[:, :-1]
            free = group.free
    cls, option = np.nonzero(counts)
    return Columns(cls, option, counts[cls, option])


class _Group:
    """The jobs of one size, and the graph of the moves between the places that they may stand at.

    nodes   (nodes,)             options where some stand or fit; the last node, after these, is "out"
    held    (rows, nodes + 1)    jobs of each class there
    gain    (rows, nodes + 1)    yen per GPU there, less its price
    weight  (nodes + 1, nodes + 1)  what the move of one job from here to there loses at least
    """

    def __init__(self, instance: Instance, rows: I64, counts: I64, free: F64, cost: F64) -> None:
        self.instance, self.rows, self.free = instance, rows, free
        self.length, self.gang = int(instance.length[rows[0]]), int(instance.gang[rows[0]])
        self.fits = largest_gang(instance, free)[self.length]
        mine = counts[rows]
        self.nodes = np.flatnonzero((mine > 0).any(0) | (self.fits >= self.gang))
        self.out = len(self.nodes)
        value = instance.value[np.ix_(rows, self.nodes)].astype(np.float64)
        self.price = np.append(cost[self.length, self.nodes], 0.0)
        gain = np.where(value > 0, value - self.price[:-1], -_FAR)
        self.gain = np.concatenate([gain, np.zeros((len(rows), 1))], axis=1)
        left = instance.jobs[rows] - mine.sum(1)
        self.held = np.concatenate([mine[:, self.nodes], left[:, None]], axis=1)
        self.least = _LEAST * float(value.max(initial=1.0))
        self.weight = np.empty((self.out + 1, self.out + 1))
        for node in range(self.out + 1):
            self._look(node)

    def turn(self) -> bool:
        """Turn every ring that one search finds. False: there is none."""
        rings = _rings(self.weight, self.least)
        if not rings:
            return False
        before = self.held[:, :-1].sum(0)
        for ring in rings:
            self._turn(ring)
        after = self.held[:, :-1].sum(0)
        if (before == after).all():
            for node in {node for ring in rings for node in ring}:
                self._look(node)
            return True
        wanted = np.zeros((len(self.instance.hours), self.instance.options))
        wanted[self.length, self.nodes] = (after - before) * float(self.gang)
        self.free = np.maximum(self.free - limits_taken(self.instance, wanted), 0.0)
        self.fits = largest_gang(self.instance, self.free)[self.length]
        for node in range(self.out + 1):
            self._look(node)
        return True

    def _nobody(self, here: int, there: int) -> float:
        """What it loses that nobody moves: a place is left empty, or a free one is taken."""
        if here == self.out:
            return float(self.price[there])
        if there == self.out and self.fits[self.nodes[here]] >= self.gang:
            return -float(self.price[here])
        return _FAR

    def _look(self, node: int) -> None:
        """Weigh the moves from a node anew."""
        some = np.flatnonzero(self.held[:, node] > 0)
        gain = self.gain[some]
        self.weight[node] = (gain[:, node, None] - gain).min(0) if len(some) else _FAR
        if node == self.out:
            np.minimum(self.weight[node], self.price, out=self.weight[node])
        else:
            self.weight[node, self.out] = min(self.weight[node, self.out], self._nobody(node, self.out))
        self.weight[node, node] = 0.0

    def _turn(self, ring: list[int]) -> None:
        """Move along a ring as many jobs as all its classes have; one, where nobody moves in a part of it."""
        moves: list[tuple[int, int, int]] = []
        many = np.iinfo(np.int64).max
        for here, there in zip(ring, ring[1:] + ring[:1], strict=True):
            some = np.flatnonzero(self.held[:, here] > 0)
            loss = self.gain[some, here] - self.gain[some, there]
            best = int(loss.argmin()) if len(some) else -1
            if best >= 0 and loss[best] <= self._nobody(here, there):
                row = int(some[best])
                moves.append((row, here, there))
                many = min(many, int(self.held[row, here]))
            else:
                many = 1
        for row, here, there in moves:
            self.held[row, here] -= many
            self.held[row, there] += many


def _rings(weight: F64, least: float) -> list[list[int]]:
    """Rings of negative weight without a common node, by Bellman and Ford from everywhere at once; none: empty."""
    each = np.arange(len(weight))
    far, parent = np.zeros(len(weight)), np.full(len(weight), -1)
    for done in range(_PASSES):
        reach = far[:, None] + weight
        via = reach.argmin(0)
        near = reach[via, each]
        better = near < far - least
        if not better.any():
            return []
        parent[better] = via[better]
        far = np.where(better, near, far)
        if done % 4 == 3:
            rings = _cycles(parent.tolist())
            if rings:
                return rings
    return []


def _cycles(parent: list[int]) -> list[list[int]]:
    """The cycles of a graph in which each node has at most one parent (−1: none), along their edges."""
    seen = [-1] * len(parent)
    found: list[list[int]] = []
    for start in range(len(parent)):
        path: list[int] = []
        at = start
        while at >= 0 and seen[at] < 0:
            seen[at] = start
            path.append(at)
            at = parent[at]
        if at >= 0 and seen[at] == start and at in path:
            found.append(path[path.index(at) :][::-1])
    return found
