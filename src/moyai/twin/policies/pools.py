"""The nodes of one flavor at one site: what is free on each now, and when what holds them ends.

Nodes with the same amounts free lie in one bucket, so that a place is looked for among a few dozen buckets, not among
all nodes.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import Flavor
from moyai.plan.pack import Size, ranks_of

Ranks = tuple[tuple[int, int], ...]
"""(node, ranks on it), each node once, in rising order."""


def ranks_by_node(nodes: Sequence[int], count: int) -> Ranks:
    """The ranks on each node of `Placement.nodes`; an index outside the flavor's `count` nodes is left out."""
    if len(nodes) == 1:
        return ((nodes[0], 1),) if 0 <= nodes[0] < count else ()
    found: dict[int, int] = {}
    for node in nodes:
        if 0 <= node < count:
            found[node] = found.get(node, 0) + 1
    return tuple(sorted(found.items()))


class Nodes:
    """Free (cores, memory in bytes, accelerators) of each node; less than 0 where more is held than there is."""

    __slots__ = ("_known", "buckets", "free")

    def __init__(self, flavor: Flavor) -> None:
        """All nodes of a flavor, idle."""
        whole: Size = (flavor.cores, flavor.memory_bytes, flavor.accelerators)
        self.free: list[Size] = [whole] * flavor.count
        self.buckets: dict[Size, list[int]] = {whole: list(range(flavor.count))} if flavor.count else {}
        self._known: dict[tuple[Size, int], bool] = {}

    def copy(self) -> "Nodes":
        """The same nodes, to be changed apart."""
        twin = Nodes.__new__(Nodes)
        twin.free = self.free.copy()
        twin.buckets = {free: nodes.copy() for free, nodes in self.buckets.items()}
        twin._known = self._known.copy()
        return twin

    def put(self, node: int, free: Size) -> None:
        """From now on that much is free on a node."""
        old = self.free[node]
        if old == free:
            return
        bucket = self.buckets[old]
        if len(bucket) == 1:
            del self.buckets[old]
        else:
            del bucket[bisect_left(bucket, node)]
        known = self.buckets.get(free)
        if known is None:
            self.buckets[free] = [node]
        else:
            insort(known, node)
        self.free[node] = free
        if self._known:
            self._known.clear()

    def take(self, ranks: Ranks, size: Size, sign: int = 1) -> None:
        """Hold so many ranks of `size` on each node; with sign −1, give them back."""
        for node, count in ranks:
            cores, memory_bytes, accelerators = self.free[node]
            more = sign * count
            self.put(node, (cores - more * size[0], memory_bytes - more * size[1], accelerators - more * size[2]))

    def has_room(self, size: Size, ranks: int) -> bool:
        """Whether that many ranks of `size` fit now."""
        known = self._known.get((size, ranks))
        if known is None:
            known = self._known[size, ranks] = self._room(size, ranks)
        return known

    def _room(self, size: Size, ranks: int) -> bool:
        cores, memory_bytes, accelerators = size
        left = ranks
        for free, nodes in self.buckets.items():
            if free[2] >= accelerators and free[0] >= cores and free[1] >= memory_bytes:
                left -= len(nodes) * (ranks_of(*free, size) if left > len(nodes) else 1)
                if left <= 0:
                    return True
        return False


@dataclass(frozen=True, slots=True)
class Hold:
    """What an attempt, or a job placed a moment ago, holds of a pool."""

    name: str  # unique on the board
    site: SiteName
    ranks: Ranks
    size: Size
    power_w: int
    end: int


class Pool:
    """The nodes of one flavor at one site, and what holds them. `version` rises with every change."""

    __slots__ = ("_taken", "ends", "flavor", "index", "nodes", "site", "version")

    def __init__(self, site: SiteName, flavor: Flavor, index: int, version: int = 0) -> None:
        """Idle. `index` is its place on the board; `version` is above that of every pool that was there before."""
        self.site, self.flavor, self.index = site, flavor, index
        self.nodes = Nodes(flavor)
        self.ends: list[tuple[int, str, Hold]] = []  # by end
        self.version = version
        self._taken = [0, 0]

    @property
    def key(self) -> tuple[SiteName, FlavorName]:
        """Its name."""
        return self.site, self.flavor.name

    @property
    def taken(self) -> tuple[int, int]:
        """(cores, accelerators) held, over all nodes."""
        return self._taken[0], self._taken[1]

    def add(self, hold: Hold) -> None:
        """Take what it holds."""
        insort(self.ends, (hold.end, hold.name, hold))
        self._move(hold, 1)

    def drop(self, hold: Hold) -> None:
        """Give back what it holds. Raises AssertionError where it isn't here."""
        self._forget(hold)
        self._move(hold, -1)

    def renew(self, old: Hold, new: Hold) -> None:
        """The same nodes are held, until another end or by another name."""
        self._forget(old)
        insort(self.ends, (new.end, new.name, new))
        self.version += 1

    def _forget(self, hold: Hold) -> None:
        at = bisect_left(self.ends, (hold.end, hold.name))
        _, _, known = self.ends.pop(at)
        assert known is hold, "a hold is given back that isn't there"

    def _move(self, hold: Hold, sign: int) -> None:
        self.nodes.take(hold.ranks, hold.size, sign)
        count = sign * sum(ranks for _, ranks in hold.ranks)
        self._taken[0] += count * hold.size[0]
        self._taken[1] += count * hold.size[2]
        self.version += 1
