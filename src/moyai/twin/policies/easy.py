"""EASY backfill: the first job that finds no room gets a reservation, and none that starts now may delay it.

Source: Lifka 1995, "The ANL/IBM SP scheduling system"; Mu'alem & Feitelson, IEEE TPDS 2001.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import merge

from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.plan.pack import FOREVER, Size, ranks_of, size_of
from moyai.twin.policies.board import Board
from moyai.twin.policies.nodes import fitting
from moyai.twin.policies.pools import Hold, Nodes, Pool, Ranks


@dataclass(frozen=True, slots=True)
class Opening:
    """When a job that doesn't fit in a pool now does, if all that runs ends as estimated."""

    at: int
    freed: dict[int, Size]  # free then, on the nodes where something ends until then
    spare_w: int | None  # power left then; None: the site has no cap


class Reservation:
    """The nodes and the power that a job will have at `at`. One that runs past `at` must fit into `late` and `late_w`.

    Both are kept up as jobs are placed. `late` is never more than is free now.
    """

    __slots__ = ("_late", "_spare", "at", "late_w", "pool")

    def __init__(self, pool: Pool, opening: Opening, *, need: Need, ranks: int, power_w: int) -> None:
        """For `ranks` ranks of `need`, on the fullest nodes that hold them then."""
        self.pool, self.at = pool, opening.at
        size = size_of(need)
        self._spare: dict[int, Size] = {}  # of the nodes that are kept: free at `at`, beside the job
        for free, node, fit in _then(pool.nodes, opening.freed, size):
            count = min(ranks, fit)
            ranks -= count
            self._spare[node] = _less(free, size, count)
            if not ranks:
                break
        self._late: Nodes | None = None  # made when first asked for: until then nobody took of what is spare
        self.late_w: int | None = None  # None: the site has no cap
        if opening.spare_w is not None:
            self.late_w = opening.spare_w - power_w

    @property
    def late(self) -> Nodes:
        """What is free for a job that runs past `at`."""
        if self._late is None:
            self._late = self.pool.nodes.copy()
            for node, spare in self._spare.items():
                self._late.put(node, _least(spare, self._late.free[node]))
        return self._late

    def note(self, pool: Pool, ranks: Ranks, size: Size, *, power_w: int, end: int) -> None:
        """A job was placed at its site: in `pool`, until `end`."""
        past = end > self.at
        if pool is self.pool and self._late is not None:
            if past:
                self._late.take(ranks, size)
            for node, _ in ranks:
                self._late.put(node, _least(self._late.free[node], pool.nodes.free[node]))
        if self.late_w is not None and past:
            self.late_w -= power_w


def _then(nodes: Nodes, freed: dict[int, Size], size: Size) -> list[tuple[Size, int, int]]:
    """(free then, node, ranks that fit) of the nodes that hold a rank then, the fullest first."""
    found = [(free, node, ranks_of(*free, size)) for node, free in freed.items()]
    for free, fit in fitting(nodes, size):
        found += [(free, node, fit) for node in nodes.buckets[free] if node not in freed]
    found = [then for then in found if then[2]]
    found.sort(key=_fullest)
    return found


def _fullest(then: tuple[Size, int, int]) -> tuple[int, int, int, int]:
    free, node, _ = then
    return free[2], free[0], free[1], node


def opening(
    board: Board, pool: Pool, need: Need, ranks: int, *, power_w: int, now: Instant, before: int = FOREVER
) -> Opening | None:
    """The earliest instant from now on at which a job fits in a pool; None where that isn't before `before`."""
    size, nodes = size_of(need), pool.nodes
    capped = pool.site in board.spare_w
    spare_w = board.spare_w.get(pool.site, power_w)
    room = sum(fit * len(nodes.buckets[free]) for free, fit in fitting(nodes, size))
    freed: dict[int, Size] = {}
    fits: dict[int, int] = {}
    found = now if room >= ranks and spare_w >= power_w else None
    for end, _, hold, here in _ends(board, pool, everywhere=capped):
        if end > found if found is not None else end >= before:
            break
        for node, count in hold.ranks if here else ():
            old = freed.get(node) or nodes.free[node]
            new = freed[node] = _less(old, hold.size, -count)
            fit = ranks_of(*new, size)
            room += fit - (fits[node] if node in fits else ranks_of(*old, size))
            fits[node] = fit
        if capped:
            spare_w += hold.power_w
        if found is None and room >= ranks and spare_w >= power_w:
            found = max(end, now + 1)
    return None if found is None else Opening(found, freed, spare_w if capped else None)


def _ends(board: Board, pool: Pool, *, everywhere: bool) -> Iterable[tuple[int, str, Hold, bool]]:
    """(end, name, hold, whether it is of this pool) by end; of this pool alone, or of all at its site."""
    if not everywhere:
        return ((end, name, hold, True) for end, name, hold in pool.ends)
    pools = [p for p in board.pools.values() if p.site == pool.site]
    return merge(*([(end, name, hold, p is pool) for end, name, hold in p.ends] for p in pools))


def _less(free: Size, size: Size, count: int) -> Size:
    return free[0] - count * size[0], free[1] - count * size[1], free[2] - count * size[2]


def _least(a: Size, b: Size) -> Size:
    return min(a[0], b[0]), min(a[1], b[1]), min(a[2], b[2])
