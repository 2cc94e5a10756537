"""The policies by name: the peers that always run, and ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from moyai.model.ids import JobId, SiteName, TenantName
from moyai.plan.types import Planner, QueuedJob
from moyai.twin.policies import order, where
from moyai.twin.policies.nodes import AnyNode, BestFit, FirstFit, LeastFragmented
from moyai.twin.policies.peer import Peer, Ways

OURS = "moyai"
NAMES = (
    OURS, "fifo", "edf", "sjf", "home", "locality", "cheapest", "mast", "random", "first-fit", "best-fit", "fgd",
)  # fmt: skip
"""Ours first, then the peers."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a policy may know beside the snapshot and the queue. Ours looks at none of it."""

    true_us: Mapping[JobId, int] = field(default_factory=dict[JobId, int])  # what jobs really run; sjf's alone
    homes: Mapping[TenantName, SiteName] = field(default_factory=dict[TenantName, SiteName])
    seed: int = 0


class UnknownPolicy(Exception):
    """There is no policy of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"there is no policy {self.name!r}; choose from {', '.join(NAMES)}"


def make(name: str, knowledge: Knowledge) -> Planner:
    """A planner of that name that has seen nothing yet. Raises UnknownPolicy.

    fifo, edf, sjf   in that order, each where it starts first, with EASY backfill; sjf knows what jobs really run
    home             first come, first served, each at its tenant's home site, with EASY backfill
    locality         only where the job's data lies, else at home; no reservations, as in all that follow
    cheapest         the site of the fewest yen among those with room
    mast             the least loaded of the regions that hold the data. After Choudhury et al., OSDI'24, "MAST: Global
                     Scheduling of ML Training across Geo-Distributed Datacenters at Hyperscale"
    random           any pool with room, any node; drawn from the seed
    first-fit        the first pool and node with room
    best-fit         the pool and node that it fills best
    fgd              the pool and node where it fragments accelerators the least
    """
    if name == OURS:
        from moyai.plan.place import LivePlanner

        return LivePlanner()
    ways = _ways(name, knowledge)
    if ways is None:
        raise UnknownPolicy(name)
    return Peer(ways)


def _ways(name: str, knowledge: Knowledge) -> Ways | None:
    """What makes a peer what it is; None where there is no such peer."""
    first = Ways(_as_told, order.fifo, where.anywhere, where.by_nodes, BestFit(), backfill=False)
    queued = replace(first, rank=where.soonest, backfill=True)
    home = where.AtHome(knowledge.homes)
    match name:
        case "fifo":
            return queued
        case "edf":
            return replace(queued, key=order.edf)
        case "sjf":
            return replace(queued, see=_Knows(knowledge.true_us), key=order.sjf)
        case "home":
            return replace(queued, narrow=home)
        case "locality":
            return replace(first, narrow=where.AtItsData(home), rank=where.soonest)
        case "cheapest":
            return replace(first, rank=where.cheapest)
        case "mast":
            return replace(first, narrow=where.near_data, rank=where.least_loaded)
        case "random":
            return replace(first, choice=AnyNode(Random(knowledge.seed)))  # noqa: S311 (chance, no secret)
        case "first-fit":
            return replace(first, rank=where.by_name, choice=FirstFit())
        case "best-fit":
            return first
        case "fgd":
            return replace(first, choice=LeastFragmented())
        case _:
            return None


def _as_told(job: QueuedJob) -> QueuedJob:
    """A job with the estimate that everybody sees."""
    return job


@dataclass(frozen=True, slots=True)
class _Knows:
    """A job with what it really runs, where that is known."""

    true_us: Mapping[JobId, int]

    def __call__(self, job: QueuedJob) -> QueuedJob:
        run_us = self.true_us.get(job.job, job.run_us)
        return job if run_us == job.run_us else replace(job, run_us=max(run_us, 1))
