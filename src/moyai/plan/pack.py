"""Where ranks fit, at the level of nodes and over time.

A pool is the nodes of one flavor at one site. Nodes with the same future are one group, so that a thousand idle nodes
cost as much as one. A profile is a step function: what a node has free from an instant on, the last step for ever.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from moyai.model.site import Flavor
from moyai.model.workload import Need

Size = tuple[int, int, int]
"""(cores, memory in bytes, accelerators) of one rank."""
Step = tuple[int, int, int, int]
"""(from that instant on, free cores, free memory in bytes, free accelerators) of one node."""
Profile = tuple[Step, ...]
UNBOUNDED = 1 << 40
"""Ranks that fit where they need nothing."""
ALWAYS = -(1 << 62)
FOREVER = 1 << 62


def size_of(need: Need) -> Size:
    """What one rank takes."""
    return need.cores, need.memory_bytes, need.accelerators


def ranks_of(cores: int, memory_bytes: int, accelerators: int, size: Size) -> int:
    """How many ranks of `size` fit into what is free; 0 where less than nothing is."""
    fit = cores // size[0] if size[0] else UNBOUNDED
    if size[1] and (more := memory_bytes // size[1]) < fit:
        fit = more
    if size[2] and (more := accelerators // size[2]) < fit:
        fit = more
    return fit if fit > 0 else 0


def ranks_per_node(flavor: Flavor, need: Need) -> int:
    """How many ranks an empty node of the flavor holds; 0 where the accelerator is another one."""
    if need.accelerators and flavor.accelerator != need.accelerator:
        return 0
    return ranks_of(flavor.cores, flavor.memory_bytes, flavor.accelerators, size_of(need))


def taken(profile: Profile, start: int, end: int, size: Size, ranks: int) -> Profile:
    """The profile with `ranks` ranks of `size` less in [start, end). Steps that are equal become one."""
    steps: list[Step] = []
    last = len(profile) - 1

    def put(at: int, cores: int, memory_bytes: int, accelerators: int) -> None:
        if not steps or steps[-1][1:] != (cores, memory_bytes, accelerators):
            steps.append((at, cores, memory_bytes, accelerators))

    for i, (at, cores, memory_bytes, accelerators) in enumerate(profile):
        until = profile[i + 1][0] if i < last else FOREVER
        if at < start:
            put(at, cores, memory_bytes, accelerators)
        inside, leave = max(at, start), min(until, end)
        if inside < leave:
            put(inside, cores - ranks * size[0], memory_bytes - ranks * size[1], accelerators - ranks * size[2])
        if until > end:
            put(max(at, end), cores, memory_bytes, accelerators)
    return tuple(steps)


@dataclass(slots=True, eq=False)
class Group:
    """Nodes that have the same future. Never changed: a placement makes new groups."""

    profile: Profile
    nodes: Sequence[int]  # ascending
    fits: dict[Size, tuple[tuple[int, int], ...]] = field(default_factory=dict[Size, tuple[tuple[int, int], ...]])

    def ranks(self, size: Size) -> tuple[tuple[int, int], ...]:
        """(instant, ranks of that size that one node holds from then on), steps that are equal made one."""
        known = self.fits.get(size)
        if known is None:
            steps: list[tuple[int, int]] = []
            last = -1
            for at, cores, memory_bytes, accelerators in self.profile:
                fit = ranks_of(cores, memory_bytes, accelerators, size)
                if fit != last:
                    steps.append((at, fit))
                    last = fit
            known = self.fits[size] = tuple(steps)
        return known

    def least_free(self, start: int, end: int) -> Size:
        """The least that is free of each kind in [start, end)."""
        cores = memory_bytes = accelerators = UNBOUNDED << 22
        last = len(self.profile) - 1
        for i, step in enumerate(self.profile):
            if step[0] >= end:
                break
            if i < last and self.profile[i + 1][0] <= start:
                continue
            cores, memory_bytes = min(cores, step[1]), min(memory_bytes, step[2])
            accelerators = min(accelerators, step[3])
        return cores, memory_bytes, accelerators


def window(steps: tuple[tuple[int, int], ...], start: int, end: int) -> tuple[int, int]:
    """(ranks that one node holds all through [start, end), the earliest later start that may hold more)."""
    fewest, more_from = UNBOUNDED + 1, FOREVER
    last = len(steps) - 1
    for i, (at, fit) in enumerate(steps):
        if at >= end:
            break
        until = steps[i + 1][0] if i < last else FOREVER
        if until > start and fit <= fewest:
            fewest, more_from = fit, until
    return fewest, more_from


class Pool:
    """The nodes of one flavor at one site. `held`: (node, size, ranks there, end) of what runs now."""

    __slots__ = ("ends", "groups", "version")

    def __init__(self, flavor: Flavor, held: Iterable[tuple[int, Size, int, int]] = ()) -> None:
        empty: Profile = ((ALWAYS, flavor.cores, flavor.memory_bytes, flavor.accelerators),)
        profiles: dict[int, Profile] = {}
        for node, size, ranks, end in held:
            if 0 <= node < flavor.count:
                profiles[node] = taken(profiles.get(node, empty), ALWAYS, end, size, ranks)
        alike: dict[Profile, list[int]] = {}
        for node in sorted(profiles):
            alike.setdefault(profiles[node], []).append(node)
        idle: Sequence[int] = range(flavor.count)
        if profiles:
            idle = [n for n in idle if n not in profiles]
        self.groups: dict[Profile, Group] = {p: Group(p, nodes) for p, nodes in alike.items()}
        if idle:
            known = self.groups.get(empty)
            self.groups[empty] = Group(empty, sorted([*known.nodes, *idle]) if known else idle)
        self.version = 0
        self.ends: dict[int, str] = {}  # instant → what ends then

    def copy(self) -> "Pool":
        """The same pool, to be changed apart."""
        twin = Pool.__new__(Pool)
        twin.groups, twin.version, twin.ends = dict(self.groups), self.version, dict(self.ends)
        return twin

    def room(self, size: Size, start: int, end: int) -> int:
        """How many ranks fit all through [start, end)."""
        return sum(window(g.ranks(size), start, end)[0] * len(g.nodes) for g in self.groups.values())

    def earliest(self, size: Size, ranks: int, start: int, end_of: Callable[[int], int]) -> int | None:
        """The first instant from `start` on at which `ranks` ranks fit and stay until `end_of` it; None where never.

        `end_of` never falls as its argument grows.
        """
        views = [(g.ranks(size), len(g.nodes)) for g in self.groups.values()]
        if ranks == 1:
            found = FOREVER
            for steps, _ in views:
                found = min(found, _first(steps, start, end_of, found))
            return found if found < FOREVER else None
        while True:
            end, room, later = end_of(start), 0, FOREVER
            for steps, nodes in views:
                fit, more_from = window(steps, start, end)
                room += fit * nodes
                later = min(later, more_from)
            if room >= ranks:
                return start
            if later == FOREVER:
                return None
            start = later

    def take(self, size: Size, ranks: int, start: int, end: int, label: str) -> list[int]:
        """Hold `ranks` ranks in [start, end), the fullest nodes that still fit first. Returns the node of each rank.

        Of nodes as full, those that were freed last: what is free for longer before `start` stays free for others.
        The caller knows that they fit.
        """
        options: list[tuple[int, int, int, int, int, int, Group]] = []
        for group in self.groups.values():
            fit = window(group.ranks(size), start, end)[0]
            if fit:
                cores, memory_bytes, accelerators = group.least_free(start, end)
                changed = max(step[0] for step in group.profile if step[0] <= start)
                options.append((accelerators, cores, memory_bytes, -changed, group.nodes[0], fit, group))
        options.sort(key=lambda o: o[:5])
        placed: list[int] = []
        fresh: list[tuple[Profile, Sequence[int]]] = []
        for *_, fit, group in options:
            left = ranks - len(placed)
            if left <= 0:
                break
            whole, rest = divmod(left, fit)
            if whole >= len(group.nodes):
                whole, rest = len(group.nodes), 0
            used = whole + (1 if rest else 0)
            del self.groups[group.profile]
            if whole:
                fresh.append((taken(group.profile, start, end, size, fit), group.nodes[:whole]))
            if rest:
                fresh.append((taken(group.profile, start, end, size, rest), group.nodes[whole:used]))
            if used < len(group.nodes):
                fresh.append((group.profile, group.nodes[used:]))
            for node in group.nodes[:whole]:
                placed.extend([node] * fit)
            placed.extend([group.nodes[whole]] * rest if rest else [])
        assert len(placed) == ranks, "ranks were placed where they don't fit"
        for profile, nodes in fresh:
            self._join(profile, nodes)
        self.version += 1
        self.ends.setdefault(end, label)
        return placed

    def _join(self, profile: Profile, nodes: Sequence[int]) -> None:
        known = self.groups.get(profile)
        self.groups[profile] = Group(profile, sorted([*known.nodes, *nodes]) if known else nodes)


def _first(steps: tuple[tuple[int, int], ...], start: int, end_of: Callable[[int], int], before: int) -> int:
    """The first instant from `start` on, before `before`, at which a node holds a rank long enough; else FOREVER."""
    i, count = 0, len(steps)
    while i + 1 < count and steps[i + 1][0] <= start:
        i += 1
    while True:
        while not steps[i][1]:
            i += 1
            if i == count:
                return FOREVER
            start = max(start, steps[i][0])
        if start >= before:
            return FOREVER
        end = end_of(start)
        j = i + 1
        while j < count and steps[j][0] < end and steps[j][1]:
            j += 1
        if j == count or steps[j][0] >= end:
            return start
        i = j


class Feed:
    """The power that a capped site has left over time, in W at its feed."""

    __slots__ = ("ends", "steps", "version")

    def __init__(self, spare_w: int, held: Iterable[tuple[int, int]] = ()) -> None:
        """`spare_w` is the cap less the idle power of all nodes; `held` is (power in W, end) of what runs now."""
        self.steps: list[tuple[int, int]] = [(ALWAYS, spare_w)]
        self.version = 0
        self.ends: dict[int, str] = {}  # instant → what ends then
        for power_w, end in held:
            self.take(power_w, ALWAYS, end)

    def copy(self) -> "Feed":
        """The same feed, to be changed apart."""
        twin = Feed(0)
        twin.steps, twin.version, twin.ends = list(self.steps), self.version, dict(self.ends)
        return twin

    def spare_w(self, start: int, end: int) -> int:
        """The least that is left in [start, end)."""
        return window(tuple(self.steps), start, end)[0]

    def earliest(self, power_w: int, start: int, end_of: Callable[[int], int]) -> int | None:
        """The first instant from `start` on at which `power_w` is left until `end_of` it; None where never."""
        steps = tuple((at, int(left >= power_w)) for at, left in self.steps)
        found = _first(steps, start, end_of, FOREVER)
        return found if found < FOREVER else None

    def take(self, power_w: int, start: int, end: int) -> None:
        """Draw `power_w` in [start, end)."""
        steps: list[tuple[int, int]] = []
        count = len(self.steps)
        for i, (at, left) in enumerate(self.steps):
            until = self.steps[i + 1][0] if i + 1 < count else FOREVER
            for a, b, drawn in ((at, start, 0), (max(at, start), min(until, end), power_w), (max(at, end), until, 0)):
                if a < min(b, until) and (not steps or steps[-1][1] != left - drawn):
                    steps.append((a, left - drawn))
        self.steps = steps
        self.version += 1
