"""A peer: a policy that people use or publish, as a planner beside ours. It places what fits now, in its order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from moyai.model.ids import JobId, SiteName
from moyai.model.units import Instant
from moyai.plan.lanes import Lanes
from moyai.plan.pack import FOREVER
from moyai.plan.problem import Option
from moyai.plan.types import Plan, Planned, Policy, QueuedJob, Snapshot
from moyai.twin.policies.bid import Bid, Offer
from moyai.twin.policies.board import Board
from moyai.twin.policies.book import Book, JobClass, Key, Shape, Spot
from moyai.twin.policies.easy import Opening, Reservation, opening
from moyai.twin.policies.nodes import Choice, Mark
from moyai.twin.policies.pools import Pool

Narrow = Callable[[QueuedJob, tuple[Spot, ...]], tuple[Spot, ...]]
Rank = Callable[[Bid, Board], Mark]


@dataclass(frozen=True, slots=True)
class Ways:
    """What makes a policy what it is."""

    see: Callable[[QueuedJob], QueuedJob]  # what it knows of a job
    key: Callable[[QueuedJob], Key]  # which job goes first
    narrow: Narrow  # where it goes with a job at all
    rank: Rank  # of the pools that have room now, it takes the least; of equal ones the first by name
    choice: Choice  # which nodes
    backfill: bool  # whether the first that finds no room gets a reservation (EASY); else the others just go ahead


class Peer:
    """A planner that places jobs now or not at all, and remembers for speed alone."""

    def __init__(self, ways: Ways) -> None:
        """Nothing seen yet."""
        self._ways = ways
        self._board = Board()
        self._book = Book(ways.see, ways.key, ways.narrow, ways.choice.learn)
        self._placed: set[JobId] = set()
        self._openings: Openings = {}

    @property
    def board(self) -> Board:
        """What it takes the fleet for: with what it placed last."""
        return self._board

    def __call__(self, snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy, /) -> Plan:
        """See `Planner`. The plan says nothing of the jobs that wait, and has no bound."""
        self._board.sync(snapshot)
        self._book.sync(queue, self._placed)
        cycle = _Cycle(
            self._ways, self._board, self._book, snapshot=snapshot, now=now, policy=policy, known=self._openings
        )
        cycle.run()
        self._placed = {planned.job for planned in cycle.placed}
        self._openings = cycle.openings
        return Plan(snapshot.seq, now, tuple(cycle.placed), certified=False)


Openings = dict[tuple[int, int], tuple[tuple[int, ...], int, Opening | None]]
"""(pool, class) → (versions of the pools it depends on, until when was looked, when it opens)."""

_Turn = tuple[Key, int, int]
"""(the job's key, its class, its place there)."""


class _Cycle:
    """One plan."""

    def __init__(
        self,
        ways: Ways,
        board: Board,
        book: Book,
        *,
        snapshot: Snapshot,
        now: Instant,
        policy: Policy,
        known: Openings,
    ) -> None:
        self.placed: list[Planned] = []
        self.openings: Openings = {}
        self._ways, self._board, self._waiting = ways, board, book.waiting
        self._snapshot, self._now, self._policy = snapshot, now, policy
        self._known = known
        self._pools = book.open(snapshot, board, now, policy)
        self._moving: Lanes | None = None
        self._reserved: dict[int, Reservation] = {}  # by pool
        self._feeds: dict[SiteName, Reservation] = {}  # of the capped sites
        self._looked: set[Shape] = set()  # that know what room there is since the last placement
        self._touched = 0  # bits of the pools in which a reservation counts

    def run(self) -> None:
        """Place the jobs in order. One that finds no room is passed over, and with it all of its class."""
        waiting = self._waiting
        heap: list[_Turn] = [(cls.jobs[0][0], number, 0) for number, cls in waiting.items() if self._may_matter(cls)]
        heapify(heap)
        while heap:
            _, number, at = heappop(heap)
            cls = waiting[number]
            job = cls.jobs[at][1]
            following: int | None = at + 1
            if job.not_before <= self._now:
                touched = self._touched
                following = self._try(cls, job, at)
                if self._touched != touched:
                    heap = [turn for turn in heap if self._may_matter(waiting[turn[1]])]
                    heapify(heap)
            if following is not None and following < len(cls.jobs) and self._may_matter(cls):
                heappush(heap, (cls.jobs[following][0], number, following))

    def _may_matter(self, cls: JobClass) -> bool:
        """Whether a job of the class may be placed, or get a reservation."""
        return bool(cls.mask & cls.shape.room or (self._ways.backfill and cls.mask and not cls.mask & self._touched))

    def _try(self, cls: JobClass, job: QueuedJob, at: int) -> int | None:
        """Place a job, or give it a reservation. Returns the place of the next of its class to try; None: none."""
        if cls.shape not in self._looked:
            cls.shape.look(self._pools)
            self._looked.add(cls.shape)
        room, power = cls.shape.room, self._board.fits_power
        spots = [s for s in cls.spots if room >> s[0].index & 1 and power(s[0].site, s[1][0].power_w)]
        bids = [bid for pool, options in spots if (bid := self._bid(cls, job, pool, options)) is not None]
        if bids:
            self._place(cls, self._least(bids))
            return at + 1
        if self._ways.backfill and not cls.mask & self._touched:
            self._reserve(cls, job)
        return _shorter(cls, at + 1, self._window(spots)) if spots else None

    def _least(self, bids: list[Bid]) -> Bid:
        """The bid of the lowest rank, the first of equal ones. Each is asked once."""
        if len(bids) == 1:
            return bids[0]
        ranks = [self._ways.rank(bid, self._board) for bid in bids]
        return bids[min(range(len(bids)), key=ranks.__getitem__)]

    def _window(self, spots: Sequence[Spot]) -> int:
        """The run time up to which a job may fit before the reservations in these pools."""
        ends = [r.at for pool, _ in spots for r in self._promises(pool)]
        return max(ends, default=self._now) - self._now

    def _promises(self, pool: Pool) -> list[Reservation]:
        """The reservations that a job in a pool may delay, each once: of its nodes, of its feed."""
        nodes, feed = self._reserved.get(pool.index), self._feeds.get(pool.site)
        return [r for r in (nodes, feed if feed is not nodes else None) if r is not None]

    def _bid(self, cls: JobClass, job: QueuedJob, pool: Pool, options: tuple[Option, ...]) -> Bid | None:
        """A job on a pool that has room; None where it would delay a reservation."""
        offer, nodes = Offer(job, options, self._lanes(), self._now), pool.nodes
        for promise in self._promises(pool):
            if offer.end > promise.at:
                if promise.late_w is not None and offer.option.power_w > promise.late_w:
                    return None
                if promise.pool is pool:
                    nodes = promise.late
                    if not nodes.has_room(cls.shape.size, cls.shape.ranks):
                        return None
        profile = self._board.sites[pool.site].profile
        return Bid(job, pool, offer, nodes=nodes, profile=profile, choice=self._ways.choice)

    def _place(self, cls: JobClass, bid: Bid) -> None:
        planned, offer = bid.planned(self._policy), bid.offer
        if offer.arrival.slots and self._moving is not None:
            self._moving.take(offer.arrival, bid.pool.site)
        self._board.take(planned, bid.need)
        self.placed.append(planned)
        for promise in self._promises(bid.pool):
            promise.note(bid.pool, bid.chosen[0], cls.shape.size, power_w=offer.option.power_w, end=offer.end)
        self._looked.clear()

    def _reserve(self, cls: JobClass, job: QueuedJob) -> None:
        """Keep nodes for the first job of its kind that finds no room: where its work can start first."""
        best: tuple[int, Pool, Opening, int] | None = None
        for pool, options in cls.spots:
            found = self._opening(cls, pool, options[0].power_w, best[0] if best is not None else FOREVER)
            if found is not None:
                offer = Offer(job, options, self._lanes(), Instant(found.at))
                if best is None or offer.start < best[0]:
                    best = (offer.start, pool, found, offer.option.power_w)
        if best is None:
            return
        _, pool, found, power_w = best
        reservation = Reservation(pool, found, need=cls.need, ranks=cls.shape.ranks, power_w=power_w)
        self._reserved[pool.index] = reservation
        self._touched |= 1 << pool.index
        if reservation.late_w is not None:
            self._feeds[pool.site] = reservation
            self._touched |= sum(1 << p.index for p in self._pools if p.site == pool.site)

    def _opening(self, cls: JobClass, pool: Pool, power_w: int, before: int) -> Opening | None:
        """When a pool opens for a class, if that is before `before`; from the last plan where nothing changed."""
        capped = pool.site in self._board.spare_w
        versions = tuple(p.version for p in self._pools if p.site == pool.site) if capped else (pool.version,)
        key = (pool.index, cls.number)
        known = self._known.get(key)
        if known is None or known[0] != versions or not (known[2].at > self._now if known[2] else known[1] >= before):
            found = opening(self._board, pool, cls.need, cls.shape.ranks, power_w=power_w, now=self._now, before=before)
            known = (versions, before, found)
        self.openings[key] = known
        return known[2]

    def _lanes(self) -> Lanes:
        if self._moving is None:
            flows = sorted(self._snapshot.flows, key=lambda f: (f.source, f.target, f.left_bytes, f.manifest or ""))
            self._moving = Lanes(self._now, flows, self._snapshot.links)
        return self._moving


def _shorter(cls: JobClass, at: int, window: int) -> int | None:
    """The place of the first job of a class, from `at` on, that may run no longer than `window`; None: none is."""
    jobs = cls.jobs
    if jobs[0][1].resumes:
        return at  # a checkpoint may make any of them short
    if cls.runs[0] > window:
        return None
    return next((i for i in range(at, len(jobs)) if jobs[i][1].run_us <= window), None)
