"""Which nodes of a pool a job gets: the first, the fullest, those that fragment the least, or any.

Each choice takes nodes that hold the job, and answers with its ranks by node and a mark: the lower, the better, by the
choice's own lights. It serves to compare pools.
"""

from collections.abc import Iterable
from random import Random
from typing import Protocol

from moyai.model.site import Flavor
from moyai.model.workload import Need
from moyai.plan.pack import Size, ranks_of, size_of
from moyai.plan.types import QueuedJob
from moyai.twin.policies.pools import Nodes, Ranks

Mark = tuple[float, ...]
Chosen = tuple[Ranks, Mark]


class Choice(Protocol):
    """Chooses nodes."""

    def __call__(self, nodes: Nodes, flavor: Flavor, need: Need, ranks: int) -> Chosen:
        """Nodes for `ranks` ranks of `need`. Raises AssertionError where they don't fit."""
        ...

    def learn(self, job: QueuedJob) -> None:
        """A job came. Most don't care."""
        ...


def filled(nodes: Iterable[tuple[int, int]], ranks: int) -> Ranks:
    """The ranks by node where (node, ranks that fit) are filled one after another."""
    found: list[tuple[int, int]] = []
    for node, fit in nodes:
        count = min(fit, ranks)
        found.append((node, count))
        ranks -= count
        if not ranks:
            found.sort()
            return tuple(found)
    raise AssertionError("ranks were placed where they don't fit")


def fitting(nodes: Nodes, size: Size) -> list[tuple[Size, int]]:
    """(what is free, ranks that fit) of each bucket that holds a rank."""
    cores, memory_bytes, accelerators = size
    return [
        (free, ranks_of(*free, size))
        for free in nodes.buckets
        if free[2] >= accelerators and free[0] >= cores and free[1] >= memory_bytes
    ]


class FirstFit:
    """The nodes of the lowest index."""

    def __call__(self, nodes: Nodes, flavor: Flavor, need: Need, ranks: int) -> Chosen:
        """See `Choice`. The mark is empty: pools go by name."""
        fits = fitting(nodes, size_of(need))
        if ranks == 1:
            return ((min(nodes.buckets[free][0] for free, _ in fits), 1),), ()
        return filled(sorted((node, fit) for free, fit in fits for node in nodes.buckets[free]), ranks), ()

    def learn(self, job: QueuedJob) -> None:
        """Nothing."""


class BestFit:
    """The fullest nodes that hold a rank: the least free accelerators, then cores, then memory, then the index."""

    def __call__(self, nodes: Nodes, flavor: Flavor, need: Need, ranks: int) -> Chosen:
        """See `Choice`. The mark is what stays free on the chosen nodes: accelerators, cores, memory."""
        size = size_of(need)
        fits = sorted(fitting(nodes, size), key=_fullest)
        chosen = filled(((node, fit) for free, fit in fits for node in nodes.buckets[free]), ranks)
        return chosen, _left(nodes, chosen, size)

    def learn(self, job: QueuedJob) -> None:
        """Nothing."""


class AnyNode:
    """Any nodes, each alike."""

    def __init__(self, chance: Random) -> None:
        """`chance` is drawn from with each job."""
        self._chance = chance

    def __call__(self, nodes: Nodes, flavor: Flavor, need: Need, ranks: int) -> Chosen:
        """See `Choice`. The mark is one draw, so that each pool is as likely as the next."""
        fits = fitting(nodes, size_of(need))
        slots = sorted((node, fit) for free, fit in fits for node in nodes.buckets[free])
        mark = (self._chance.random(),)
        if ranks == 1:
            return ((self._chance.choice(slots)[0], 1),), mark
        self._chance.shuffle(slots)
        return filled(slots, ranks), mark

    def learn(self, job: QueuedJob) -> None:
        """Nothing."""


class LeastFragmented:
    """FGD: where the expected fragmentation of accelerators rises the least; equal ones by best fit.

    A node that can't run a rank of some job has all its free accelerators as fragments for it. What is expected is
    what came so far, ranks counted; whole accelerators only. The increase of fragmentation is the loss of use less
    what is asked, which is the same everywhere.
    Source: Weng et al., USENIX ATC'23, "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
    Gradient Descent", section 4.
    """

    def __init__(self) -> None:
        """Nothing is expected yet."""
        self._ranks: dict[Need, int] = {}
        self._seen = self._renew_at = 0
        self._mix: dict[str, list[tuple[Size, float]]] = {}  # by accelerator
        self._uses: dict[tuple[str, Size], float] = {}

    def learn(self, job: QueuedJob) -> None:
        """Count its ranks. What is expected changes whenever a fifth more jobs came, so that most of it is kept."""
        need = job.order.need
        if need.accelerators:
            self._ranks[need] = self._ranks.get(need, 0) + job.order.nodes
            self._seen += 1

    def __call__(self, nodes: Nodes, flavor: Flavor, need: Need, ranks: int) -> Chosen:
        """See `Choice`. The mark is the loss of use for each rank, then best fit's."""
        if self._seen >= self._renew_at:
            self._renew()
        size, ranked = size_of(need), list[tuple[float, Size, int]]()
        for free, fit in fitting(nodes, size):
            count = min(fit, ranks)
            left = (free[0] - count * size[0], free[1] - count * size[1], free[2] - count * size[2])
            loss = self.use(flavor.accelerator, free) - self.use(flavor.accelerator, left)
            ranked.append((round(loss / count, 9), free, fit))
        ranked.sort(key=lambda r: (r[0], *_fullest(r[1:])))
        chosen = filled(((node, fit) for _, free, fit in ranked for node in nodes.buckets[free]), ranks)
        losses = {free: loss for loss, free, _ in ranked}
        loss = sum(count * losses[nodes.free[node]] for node, count in chosen) / ranks
        return chosen, (loss, *_left(nodes, chosen, size))

    def use(self, accelerator: str, free: Size) -> float:
        """Accelerators of a node with so much free that an expected rank can use: free ones less fragmentation."""
        if not free[2]:
            return 0.0
        known = self._uses.get((accelerator, free))
        if known is None:
            share = sum(part for size, part in self._mix.get(accelerator, ()) if ranks_of(*free, size))
            known = self._uses[accelerator, free] = free[2] * share
        return known

    def _renew(self) -> None:
        self._renew_at = self._seen * 6 // 5 + 1
        total = sum(self._ranks.values()) or 1
        self._mix = {}
        for need, count in self._ranks.items():
            self._mix.setdefault(need.accelerator, []).append((size_of(need), count / total))
        self._uses.clear()


def _fullest(bucket: tuple[Size, int]) -> Size:
    """What best fit sorts by: free accelerators, cores, memory."""
    free = bucket[0]
    return free[2], free[0], free[1]


def _left(nodes: Nodes, chosen: Ranks, size: Size) -> Mark:
    """Accelerators, cores and memory that stay free on the chosen nodes, summed."""
    cores = memory_bytes = accelerators = 0
    for node, count in chosen:
        free = nodes.free[node]
        cores += free[0] - count * size[0]
        memory_bytes += free[1] - count * size[1]
        accelerators += free[2] - count * size[2]
    return accelerators, cores, memory_bytes
