"""Put pods one after another, none leaving, and count what was given and what was turned away."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np

from moyai.plan.nodes.cluster import Cluster, Ints, Mask, Placement, Request, place
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

    __slots__ = ("_at", "_last", "_mix", "_now", "_rows", "_stamp", "_worth")

    def __init__(self, mix: Mix, worth: Worth) -> None:
        """An empty table for this mix and worth."""
        self._mix, self._worth = mix, worth
        self._last: Cluster | None = None
        self._stamp: Ints = np.zeros(0, np.int64)  # (N,) at which step a node changed last
        self._now: Ints = np.zeros(0, np.int64)  # (N,) worth of each node as it is
        self._rows: dict[Request, tuple[int, Ints, Ints]] = {}  # step of the last look, loss (N,), gpu (N,)
        self._at = 0

    def __call__(self, cluster: Cluster, request: Request) -> Placement | None:
        """As `gradient`. Raises ValueError for a cluster of other nodes than the one before."""
        return cheapest(cluster, *self.look(cluster, request), request)

    def look(self, cluster: Cluster, request: Request) -> tuple[Ints, Ints]:
        """(N,) loss and (N,) GPU of every node, as `losses` gives them; not to be written to. Raises as a call does."""
        self._note(cluster)
        row = self._rows.get(request)
        if row is None:
            loss, gpu = losses(cluster, request, self._mix, self._worth, np.arange(cluster.nodes), before=self._now)
        else:
            seen, loss, gpu = row
            changed = np.flatnonzero(self._stamp > seen)
            if len(changed):
                now = self._now[changed]
                loss[changed], gpu[changed] = losses(cluster, request, self._mix, self._worth, changed, before=now)
        self._rows[request] = (self._at, loss, gpu)
        return loss, gpu

    def _note(self, cluster: Cluster) -> None:
        last, self._last = self._last, cluster
        if last is cluster:
            return
        self._at += 1
        if last is None:
            self._stamp = np.full(cluster.nodes, self._at, np.int64)
            changed = np.arange(cluster.nodes)
            self._now = np.zeros(cluster.nodes, np.int64)
        else:
            changed = np.flatnonzero(differing(last, cluster))
            self._stamp[changed] = self._at
        self._now[changed] = self._worth(
            cluster.cpu_milli[changed],
            cluster.memory_mib[changed],
            cluster.gpu_milli[changed],
            cluster.model[changed],
            self._mix,
        )


def differing(one: Cluster, other: Cluster) -> Mask:
    """(N,): which nodes have something else free. Raises ValueError where they aren't the same nodes."""
    if one.models != other.models or not np.array_equal(one.model, other.model):
        raise ValueError("a table is for one cluster's nodes")
    return cast(
        Mask,
        (one.cpu_milli != other.cpu_milli)
        | (one.memory_mib != other.memory_mib)
        | (one.gpu_milli != other.gpu_milli).any(axis=1),
    )
