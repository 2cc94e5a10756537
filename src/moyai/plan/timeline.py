"""What the fleet holds over time: the nodes of every pool, the power of every capped site, the links."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moyai.model.ids import AttemptId, SiteName
from moyai.plan.lanes import Arrival
from moyai.plan.pack import Feed, Pool, Size, size_of
from moyai.plan.problem import JobClass, Option, PoolKey, Problem
from moyai.plan.types import Busy

_NOTHING = Arrival(0, 0, 0, ())


@dataclass(frozen=True, slots=True)
class Quote:
    """The earliest that an option can be had beside all that is held. Nodes are held from `issue` to `end`."""

    issue: int
    start: int  # of its work: the data is there
    end: int
    value: int
    if_free: int  # its value were its nodes and power free at once
    egress_micro_yen: int
    moved_bytes: int
    arrival: Arrival
    awaits: str  # the job whose end it waits for; "" where it waits for none


class Timeline:
    """Holds by pool, by feed and by link. Pools are made when first asked for.

    `ends` tells of attempts that will be stopped when they end.
    """

    __slots__ = ("_busy", "_feeds", "_lanes", "_pools", "_problem")

    def __init__(self, problem: Problem, ends: Mapping[AttemptId, int] | None = None) -> None:
        self._problem = problem
        self._lanes = problem.lanes.copy()
        self._pools: dict[PoolKey, Pool] = {}
        self._feeds: dict[SiteName, Feed] = {}
        self._busy: dict[PoolKey, list[tuple[Busy, int]]] = {}
        for busy in sorted(problem.snapshot.busy, key=lambda b: b.attempt):
            end = max(busy.end if ends is None else ends.get(busy.attempt, busy.end), problem.now + 1)
            self._busy.setdefault((busy.site, busy.flavor), []).append((busy, end))

    def copy(self) -> "Timeline":
        """The same holds, to be added to apart."""
        twin = Timeline.__new__(Timeline)
        twin._problem, twin._busy = self._problem, self._busy
        twin._lanes = self._lanes.copy()
        twin._pools = {key: pool.copy() for key, pool in self._pools.items()}
        twin._feeds = {site: feed.copy() for site, feed in self._feeds.items()}
        return twin

    def busy(self, key: PoolKey) -> list[tuple[Busy, int]]:
        """The attempts that hold nodes of a pool now, and when each ends."""
        return self._busy.get(key, [])

    def pools_of(self, site: SiteName) -> list[PoolKey]:
        """The pools of a site in which something runs now."""
        return [key for key in self._busy if key[0] == site]

    def quote(self, cls: JobClass, option: Option, known: Quote | None = None, since: int = 0) -> Quote | None:
        """The earliest way to have an option, from `since` on; None where it can never be had.

        `known` is an earlier answer to the same question, before more was held: the new one is no earlier.
        """
        pool, feed = self._pool(option), self._feed(option.site)
        end_of = self._end_of(option)
        issue = known.issue if known is not None and not option.moves else max(cls.earliest, since)
        while True:
            found = pool.earliest(cls.size, cls.ranks, issue, end_of)
            if found is None or feed is None:
                break
            powered = feed.earliest(option.power_w, found, end_of)
            if powered is None or powered == found:
                found = powered
                break
            issue = powered
        if found is None:
            return None
        arrival = self._lanes.arrival(option.moves, option.site, found) if option.moves else _NOTHING
        start = max(found, arrival.at)
        end = start + option.run_us
        value = if_free = cls.value(option, end, arrival.egress_micro_yen)
        awaits = ""
        if found > cls.earliest:
            if_free = max(value, self._if_free(cls, option))
            awaits = pool.ends.get(found) or (feed.ends.get(found, "") if feed is not None else "")
        return Quote(
            issue=found,
            start=start,
            end=end,
            value=value,
            if_free=if_free,
            egress_micro_yen=arrival.egress_micro_yen,
            moved_bytes=arrival.moved_bytes,
            arrival=arrival,
            awaits=awaits,
        )

    def _if_free(self, cls: JobClass, option: Option) -> int:
        """The value of an option whose nodes and power were free from the start, the links as they are."""
        if not option.moves:
            return cls.value(option, cls.earliest + option.run_us, 0)
        came = self._lanes.arrival(option.moves, option.site, cls.earliest)
        return cls.value(option, max(cls.earliest, came.at) + option.run_us, came.egress_micro_yen)

    def room(self, cls: JobClass, option: Option, quote: Quote) -> int:
        """How many jobs of the class can have the quote at once; one where it moves data, which the next ones share."""
        if quote.arrival.slots:
            return 1
        fit = self._pool(option).room(cls.size, quote.issue, quote.end) // cls.ranks
        feed = self._feed(option.site)
        if feed is not None and option.power_w:
            fit = min(fit, feed.spare_w(quote.issue, quote.end) // option.power_w)
        return fit

    def alone(self, cls: JobClass, option: Option) -> int | None:
        """The earliest start of an option's work beside what is held, were every link and every move at its best."""
        pool, feed, start = self._pool(option), self._feed(option.site), option.soonest
        run_us = option.run_us

        def end_of(at: int) -> int:
            return at + run_us

        while True:
            found = pool.earliest(cls.size, cls.ranks, start, end_of)
            if found is None or feed is None:
                return found
            powered = feed.earliest(option.power_w, found, end_of)
            if powered is None or powered == found:
                return powered
            start = powered

    def version(self, option: Option) -> tuple[int, int]:
        """Changes whenever a quote of the option may."""
        feed = self._feed(option.site)
        held = self._pool(option).version + (feed.version if feed is not None else 0)
        return held, self._lanes.version if option.moves else 0

    def hold(self, cls: JobClass, option: Option, quote: Quote, jobs: int, label: str) -> list[int]:
        """Take what `jobs` jobs of a class need at a quote. Returns the node of each rank, job after job."""
        if quote.arrival.slots:
            self._lanes.take(quote.arrival, option.site)
        feed = self._feed(option.site)
        if feed is not None:
            feed.take(jobs * option.power_w, quote.issue, quote.end)
            feed.ends.setdefault(quote.end, label)
        return self._pool(option).take(cls.size, jobs * cls.ranks, quote.issue, quote.end, label)

    def _end_of(self, option: Option) -> Callable[[int], int]:
        run_us = option.run_us
        if not option.moves:
            return lambda at: at + run_us
        lanes = self._lanes
        return lambda at: max(at, lanes.arrival(option.moves, option.site, at).at) + run_us

    def _pool(self, option: Option) -> Pool:
        key = option.pool
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(option.flavor, _ranks_by_node(self.busy(key)))
            for busy, end in self.busy(key):
                pool.ends.setdefault(end, busy.job)
        return pool

    def _feed(self, site: SiteName) -> Feed | None:
        if site not in self._problem.idle_w:
            return None
        feed = self._feeds.get(site)
        if feed is None:
            view = next(v for v in self._problem.sites if v.profile.name == site)
            held = [(b.power_w, end) for key, busy in self._busy.items() if key[0] == site for b, end in busy]
            feed = self._feeds[site] = Feed(view.profile.power_cap_w - self._problem.idle_w[site], held)
            for key, busy in self._busy.items():
                for b, end in busy if key[0] == site else ():
                    if b.power_w:
                        feed.ends.setdefault(end, b.job)
        return feed


def _ranks_by_node(held: list[tuple[Busy, int]]) -> list[tuple[int, Size, int, int]]:
    found: list[tuple[int, Size, int, int]] = []
    for busy, end in held:
        size = size_of(busy.need)
        ranks: dict[int, int] = {}
        for node in busy.nodes:
            ranks[node] = ranks.get(node, 0) + 1
        found.extend((node, size, count, end) for node, count in ranks.items())
    return found
