"""Where a policy goes with a job: the pools that it looks at, and which of those with room it takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from moyai.model.ids import SiteName, TenantName
from moyai.plan.types import QueuedJob
from moyai.twin.policies.bid import Bid
from moyai.twin.policies.board import Board
from moyai.twin.policies.book import Spot
from moyai.twin.policies.nodes import Mark


def anywhere(job: QueuedJob, spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
    """Every pool that the rules leave."""
    return spots


@dataclass(frozen=True, slots=True)
class AtHome:
    """The home site of the job's tenant alone; a tenant without one has the first site that takes its jobs."""

    homes: Mapping[TenantName, SiteName]

    def __call__(self, job: QueuedJob, spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
        """The pools of the home site; none where the rules exclude it."""
        home = self.homes.get(job.tenant, spots[0][0].site if spots else "")
        return tuple(spot for spot in spots if spot[0].site == home)


@dataclass(frozen=True, slots=True)
class AtItsData:
    """Only where the job's data lies; a job without data, or whose data lies at none of these, stays at home."""

    home: AtHome

    def __call__(self, job: QueuedJob, spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
        """The pools of the sites that hold the most of it."""
        return holding(job, spots) or self.home(job, spots)


def near_data(job: QueuedJob, spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
    """The pools of the sites that hold the most of the job's data; all of them where none holds any."""
    return holding(job, spots) or spots


def holding(job: QueuedJob, spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
    """The pools of the sites that hold the most of a job's data, in bytes; none where no site holds any."""
    held = {pool.site: _held(job, pool.site) for pool, _ in spots}
    most = max(held.values(), default=(0, 0))
    return tuple(spot for spot in spots if held[spot[0].site] == most) if most[1] else ()


def _held(job: QueuedJob, site: SiteName) -> tuple[int, int]:
    """(bytes, datasets) of a job that lie at a site."""
    sizes = [d.size_bytes for d in job.data if site in d.sites]
    return sum(sizes), len(sizes)


def by_name(bid: Bid, board: Board) -> Mark:
    """The first."""
    return ()


def soonest(bid: Bid, board: Board) -> Mark:
    """Where its work starts first: at once, unless its data has to come."""
    return (bid.offer.start,)


def cheapest(bid: Bid, board: Board) -> Mark:
    """The fewest yen: electricity, nodes and egress."""
    return (bid.cost_micro_yen,)


def by_nodes(bid: Bid, board: Board) -> Mark:
    """Where the nodes are best by their own choice's lights."""
    return bid.chosen[1]


def least_loaded(bid: Bid, board: Board) -> Mark:
    """The site with the smallest part of its accelerators held; of its cores, for a job without accelerators."""
    kind = 1 if bid.need.accelerators else 0
    held = whole = 0
    for pool in board.pools.values():
        if pool.site == bid.pool.site:
            held += pool.taken[kind]
            whole += pool.flavor.count * (pool.flavor.accelerators if kind else pool.flavor.cores)
    return (held / whole if whole else 0.0,)
