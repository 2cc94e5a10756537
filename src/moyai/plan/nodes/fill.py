"""Put pods one after another, none leaving, and count what was given and what was turned away."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from moyai.plan.nodes.cluster import Cluster, Ints, Placement, Request, place
from moyai.plan.nodes.policies import Policy, cheapest, losses
from moyai.plan.nodes.worth import Mix, Worth


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """How it ended."""

    cluster: Cluster  # what is still free
    placements: tuple[Placement | None, ...]  # of each pod, in the order of arrival; None: turned away
    given_milli: int  # GPU thousandths
    rejected: int  # pods turned away, with and without GPUs
    rejected_without_gpu: int  # those of them that asked for no GPU
    rejected_gangs: int  # those of them that asked for several GPUs


def fill(cluster: Cluster, requests: Iterable[Request], policy: Policy) -> Filled:
    """Each request where `policy` puts it; one that it puts nowhere is turned away for good. Raises what it raises."""
    placements: list[Placement | None] = []
    given = without = gangs = 0
    for request in requests:
        placement = policy(cluster, request)
        placements.append(placement)
        if placement is not None:
            cluster = place(cluster, request, placement)
            given += request.asked_milli
        else:
            without += not request.gpus
            gangs += request.gpus > 1
    return Filled(cluster, tuple(placements), given, placements.count(None), without, gangs)


class Table:
    """`gradient`, the same answers, remembering the losses of each class of request: a policy to fill a cluster with.

    A node is counted again for a class only after it changed. It compares each cluster with the one before it, so any
    cluster of the same nodes may follow: the answers depend on the cluster and the request alone.
    Memory: 16 bytes × nodes × classes of request seen.
    """

    __slots__ = ("_at", "_last", "_mix", "_rows", "_stamp", "_worth")

    def __init__(self, mix: Mix, worth: Worth) -> None:
        """An empty table for this mix and worth."""
        self._mix, self._worth = mix, worth
        self._last: Cluster | None = None
        self._stamp: Ints = np.zeros(0, np.int64)  # (N,) at which step a node changed last
        self._rows: dict[Request, tuple[int, Ints, Ints]] = {}  # step of the last look, loss (N,), gpu (N,)
        self._at = 0

    def __call__(self, cluster: Cluster, request: Request) -> Placement | None:
        """As `gradient`. Raises ValueError for a cluster of other nodes than the one before."""
        self._note(cluster)
        row = self._rows.get(request)
        if row is None:
            loss, gpu = losses(cluster, request, self._mix, self._worth, np.arange(cluster.nodes))
        else:
            seen, loss, gpu = row
            changed = np.flatnonzero(self._stamp > seen)
            if len(changed):
                loss[changed], gpu[changed] = losses(cluster, request, self._mix, self._worth, changed)
        self._rows[request] = (self._at, loss, gpu)
        return cheapest(cluster, loss, gpu, request)

    def _note(self, cluster: Cluster) -> None:
        last, self._last = self._last, cluster
        if last is cluster:
            return
        self._at += 1
        if last is None:
            self._stamp = np.full(cluster.nodes, self._at, np.int64)
            return
        if last.models != cluster.models or not np.array_equal(last.model, cluster.model):
            raise ValueError("a table is for one cluster's nodes")
        changed = (
            (last.cpu_milli != cluster.cpu_milli)
            | (last.memory_mib != cluster.memory_mib)
            | (last.gpu_milli != cluster.gpu_milli).any(axis=1)
        )
        self._stamp[changed] = self._at
