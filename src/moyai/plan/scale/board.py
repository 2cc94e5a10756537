"""Every node as it is now, kept from cycle to cycle: nodes with the same left free stand together.

What this plan places is taken at once and given back when the plan is made: the next snapshot says what became of it.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from moyai.facility.power import idle_power_w
from moyai.model.ids import AttemptId, SiteName
from moyai.model.site import Flavor, SiteProfile
from moyai.plan.pack import Size, ranks_of, size_of
from moyai.plan.problem import PoolKey
from moyai.plan.types import Busy, SiteView, Snapshot

UNCAPPED_W = 1 << 62
"""Watts left where a site has no cap."""


class Pool:
    """The nodes of one flavor at one site. `by_free`: what is free of a node → the nodes, ascending."""

    __slots__ = ("_rooms", "by_free", "flavor", "free")

    def __init__(self, flavor: Flavor) -> None:
        whole = (flavor.cores, flavor.memory_bytes, flavor.accelerators)
        self.flavor = flavor
        self.free: list[Size] = [whole] * flavor.count
        self.by_free: dict[Size, list[int]] = {whole: list(range(flavor.count))} if flavor.count else {}
        self._rooms: dict[Size, int] = {}

    def room(self, size: Size, spare: Collection[int] = ()) -> int:
        """How many ranks of a size fit now, on the nodes that aren't in `spare`."""
        known = self._rooms.get(size)
        if known is None:
            known = sum(ranks_of(*free, size) * len(nodes) for free, nodes in self.by_free.items())
            self._rooms[size] = known
        return known - sum(ranks_of(*self.free[node], size) for node in spare) if spare else known

    def take(self, size: Size, ranks: int, count: int, spare: Collection[int] = ()) -> list[tuple[int, ...]]:
        """Hold up to `count` jobs of `ranks` ranks, the fullest nodes first. Returns for each the node of each rank."""
        fits = [
            (free[2], free[0], free[1], fit, nodes)
            for free, nodes in self.by_free.items()
            if (fit := ranks_of(*free, size))
        ]
        room = sum(fit * len(nodes) for *_, fit, nodes in fits)
        room -= sum(ranks_of(*self.free[node], size) for node in spare) if spare else 0
        count = min(count, room // ranks)
        if count <= 0:
            return []
        fits.sort(key=lambda f: f[:3])
        placed: list[int] = []
        left = ranks * count
        for *_, fit, nodes in fits:
            for node in nodes:
                if node in spare:
                    continue
                placed.extend([node] * min(fit, left))
                left = ranks * count - len(placed)
                if not left:
                    break
            if not left:
                break
        self.hold(size, placed)
        return [tuple(placed[at : at + ranks]) for at in range(0, len(placed), ranks)]

    def hold(self, size: Size, nodes: Iterable[int], sign: int = 1) -> None:
        """Take a rank of a size from each of `nodes`; with sign −1, give it back. Nodes that are gone don't count."""
        self._rooms.clear()
        for node, many in Counter(nodes).items():
            if not 0 <= node < len(self.free):
                continue
            old, by = self.free[node], sign * many
            new = (old[0] - by * size[0], old[1] - by * size[1], old[2] - by * size[2])
            group = self.by_free[old]
            if len(group) == 1:
                del self.by_free[old]
            else:
                del group[bisect_left(group, node)]
            insort(self.by_free.setdefault(new, []), node)
            self.free[node] = new


@dataclass(frozen=True, slots=True)
class Shadow:
    """When a gang will have room in a pool, as far as is known, and the nodes that are kept for it until then."""

    start: int
    nodes: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Taken:
    """What this plan took."""

    key: PoolKey
    size: Size
    nodes: tuple[int, ...]
    power_w: int
    end: int


@dataclass(slots=True, eq=False)
class Board:
    """The nodes and the power of the fleet."""

    pools: dict[PoolKey, Pool] = field(default_factory=dict[PoolKey, Pool])
    spare_w: dict[SiteName, int] = field(default_factory=dict[SiteName, int])  # at the feed, beside all idle nodes
    held: dict[AttemptId, Busy] = field(default_factory=dict[AttemptId, Busy])
    _caps: dict[SiteName, int] = field(default_factory=dict[SiteName, int])
    _taken: list[_Taken] = field(default_factory=list["_Taken"])

    def sync(self, snapshot: Snapshot) -> None:
        """Bring the board to what a snapshot shows; what a plan took in between is given back first."""
        self.give_back()
        now = {b.attempt: b for b in snapshot.busy}
        fresh = self._sites(snapshot.sites)
        for attempt, old in list(self.held.items()):
            new = now.get(attempt)
            if new is old:
                continue
            if new is not None and (new.nodes, new.need, new.power_w) == (old.nodes, old.need, old.power_w):
                self.held[attempt] = new
                continue
            del self.held[attempt]
            if (old.site, old.flavor) not in fresh:
                self._hold(old, -1)
        for attempt, busy in now.items():
            if attempt not in self.held:
                self.held[attempt] = busy
                if (busy.site, busy.flavor) not in fresh:
                    self._hold(busy, 1)
        for busy in self.held.values():
            if (busy.site, busy.flavor) in fresh:
                self._nodes(busy, 1)
        for site in {site for site, _ in fresh}:
            drawn = sum(b.power_w for b in self.held.values() if b.site == site)
            self.spare_w[site] = self._caps[site] - drawn

    def cap_w(self, site: SiteName) -> int:
        """What attempts may draw together at a site's feed; UNCAPPED_W where it has no cap."""
        return self._caps[site]

    def take(
        self,
        key: PoolKey,
        size: Size,
        ranks: int,
        *,
        power_w: int,
        end: int,
        count: int = 1,
        spare: Collection[int] = (),
    ) -> list[tuple[int, ...]]:
        """Hold nodes that aren't in `spare`, and power, for up to `count` jobs of this plan until `end`.

        Returns the nodes of each that fits.
        """
        if power_w > 0:
            count = min(count, self.spare_w[key[0]] // power_w)
        jobs = self.pools[key].take(size, ranks, count, spare)
        if jobs:
            self.spare_w[key[0]] -= power_w * len(jobs)
            nodes = tuple(node for job in jobs for node in job)
            self._taken.append(_Taken(key, size, nodes, power_w * len(jobs), end))
        return jobs

    def give_back(self) -> None:
        """Undo what was taken since the last `sync`."""
        for taken in reversed(self._taken):
            self.pools[taken.key].hold(taken.size, taken.nodes, -1)
            self.spare_w[taken.key[0]] += taken.power_w
        self._taken.clear()

    def shadow(self, key: PoolKey, size: Size, ranks: int) -> Shadow | None:
        """When `ranks` ranks fit at once, if everything ends when it is expected to; None where they never do."""
        pool = self.pools[key]
        free, room = dict(enumerate(pool.free)), pool.room(size)
        ends: list[tuple[int, tuple[int, ...], Size]] = [
            (b.end, b.nodes, size_of(b.need)) for b in self.held.values() if (b.site, b.flavor) == key
        ]
        ends.extend((t.end, t.nodes, t.size) for t in self._taken if t.key == key)
        for end, nodes, other in sorted(ends):
            for node in nodes:
                old = free.get(node)
                if old is not None:
                    new = free[node] = (old[0] + other[0], old[1] + other[1], old[2] + other[2])
                    room += ranks_of(*new, size) - ranks_of(*old, size)
            if room >= ranks:
                kept: set[int] = set()
                left = ranks
                for fit, node in sorted(((-ranks_of(*f, size), n) for n, f in free.items())):
                    if left <= 0:
                        break
                    kept.add(node)
                    left += fit
                return Shadow(end, frozenset(kept))
        return None

    def _sites(self, views: Sequence[SiteView]) -> set[PoolKey]:
        """Make the pools that are new or other than before. Returns their keys and those of the pools that went."""
        changed: set[PoolKey] = set()
        seen: set[PoolKey] = set()
        for view in views:
            profile = view.profile
            cap = _cap_w(profile)
            if self._caps.get(profile.name) != cap:
                self._caps[profile.name] = cap
                changed.update((profile.name, f.name) for f in profile.flavors)
            for flavor in profile.flavors:
                key = (profile.name, flavor.name)
                seen.add(key)
                pool = self.pools.get(key)
                if pool is None or not _alike(pool.flavor, flavor) or key in changed:
                    self.pools[key] = Pool(flavor)
                    changed.add(key)
        for key in [k for k in self.pools if k not in seen]:
            del self.pools[key]
            changed.add(key)
        return changed

    def _hold(self, busy: Busy, sign: int) -> None:
        self._nodes(busy, sign)
        if busy.site in self.spare_w:
            self.spare_w[busy.site] -= sign * busy.power_w

    def _nodes(self, busy: Busy, sign: int) -> None:
        pool = self.pools.get((busy.site, busy.flavor))
        if pool is not None:
            pool.hold(size_of(busy.need), busy.nodes, sign)


def _cap_w(profile: SiteProfile) -> int:
    return profile.power_cap_w - idle_power_w(profile) if profile.power_cap_w else UNCAPPED_W


def _alike(a: Flavor, b: Flavor) -> bool:
    return (a.count, a.cores, a.memory_bytes, a.accelerators, a.accelerator) == (
        b.count,
        b.cores,
        b.memory_bytes,
        b.accelerators,
        b.accelerator,
    )
