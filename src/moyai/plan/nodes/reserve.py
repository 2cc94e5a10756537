"""Room kept for gangs: a pod that isn't one takes their last places only where it fits nowhere else."""

from collections.abc import Mapping

import numpy as np

from moyai.plan.nodes.cluster import Cluster, Ints, Mask, Placement, Request, accepted
from moyai.plan.nodes.fill import Table, differing
from moyai.plan.nodes.policies import NEVER, cheapest, left
from moyai.plan.nodes.worth import Mix, Worth, held, mix_of

KEPT = (300, 200, 100, 50)
"""Percent of the gangs that would come while what is free fills, tried in turn; tuned on openb's `default`, ADR 011."""


class Reserve:
    """A `Table` whose pods keep off the last places of gangs, the classes of several GPUs: a policy too.

    Expected of a class of gangs is its part of what all pods ask, times the free GPUs. A class is scarce for a pod if
    the nodes together would hold fewer of it, after the pod, than `kept` percent of those expected of it and of each
    class that fits only where it fits. A pod goes where it takes room from no scarce class; where there is no such
    node, `kept` falls to its next figure, and after the last the pod goes where it would without gangs. A gang isn't
    kept off the room of its own class, nor of those that fit wherever it fits. So whatever fits is placed: no pod is
    turned away for a gang that isn't there yet.
    Source: our own; docs/adr/011-node-packing.md has what it brings and what was tried.
    """

    __slots__ = ("_able", "_asked", "_expected", "_gangs", "_kept", "_last", "_table")

    def __init__(
        self,
        counts: Mapping[Request, int],
        models: tuple[str, ...],
        mix: Mix,
        worth: Worth,
        *,
        kept: tuple[int, ...] = KEPT,
    ) -> None:
        """For `counts` expected pods of each class and a cluster of these models; `mix` and `worth` as for a `Table`.

        `kept` is tried from the largest to the smallest. Raises ValueError for one below 0.
        """
        if min(kept, default=0) < 0:
            raise ValueError(f"room can't be kept for less than no gang: {kept}")
        self._table, self._kept = Table(mix, worth), tuple(sorted(kept, reverse=True))
        gangs = mix_of({request: count for request, count in counts.items() if request.gpus > 1}, models)
        within = (
            (gangs.gpus[:, None] >= gangs.gpus)
            & (gangs.cpu_milli[:, None] >= gangs.cpu_milli)
            & (gangs.memory_mib[:, None] >= gangs.memory_mib)
            & (gangs.takes[:, :, None] <= gangs.takes[:, None, :]).all(axis=0)
        )  # (j, k): where a gang j fits a gang k does
        self._gangs = gangs
        self._expected: Ints = gangs.weight @ within  # (K,)
        self._asked = max(1, sum(count * request.asked_milli for request, count in counts.items()))
        self._last: Cluster | None = None
        self._able: Ints = np.zeros((0, len(gangs.gpus)), np.int64)  # (N, K) gangs that a node holds

    def __call__(self, cluster: Cluster, request: Request) -> Placement | None:
        """The node and GPUs of least loss that leave the gangs most of their room.

        Raises ValueError for a cluster of other nodes than the one before.
        """
        loss, gpu = self._table.look(cluster, request)
        if not len(self._gangs.gpus):
            return cheapest(cluster, loss, gpu, request)
        self._note(cluster)
        free, every, most = int(cluster.gpu_milli.sum()), self._able.sum(axis=0), self._able.max(axis=0, initial=0)
        others = ~self._wherever(cluster, request)
        touched: tuple[Ints, Ints] | None = None
        for kept in self._kept:
            need = kept * free * self._expected // (100 * self._asked)
            scarce = others & (need > 0) & (every - need < most)
            apart = loss
            if scarce.any():
                # `kept` falls, and so no class becomes scarce later: the first nodes have all the later ones.
                touched = touched or self._taken(cluster, request, loss, gpu, scarce)
                nodes, taken = touched
                apart = loss.copy()
                apart[nodes[(scarce & (taken > 0) & (taken > every - need)).any(axis=1)]] = NEVER
            placement = cheapest(cluster, apart, gpu, request)
            if placement is not None or apart is loss:
                return placement
        return cheapest(cluster, loss, gpu, request)

    def _wherever(self, cluster: Cluster, request: Request) -> Mask:
        """(K,): the classes of gangs that fit wherever the request fits."""
        gangs = self._gangs
        return (
            (request.gpus >= gangs.gpus)
            & (request.cpu_milli >= gangs.cpu_milli)
            & (request.memory_mib >= gangs.memory_mib)
            & (accepted(cluster.models, request)[:, None] <= gangs.takes).all(axis=0)
        )

    def _taken(self, cluster: Cluster, request: Request, loss: Ints, gpu: Ints, scarce: Mask) -> tuple[Ints, Ints]:
        """(R,) the nodes on which the request fits and a scarce gang too, and (R, K) how many fewer gangs after it."""
        nodes = np.flatnonzero((loss < NEVER) & self._able[:, scarce].any(axis=1))
        after = held(*left(cluster, request, nodes, gpu), cluster.model[nodes], self._gangs)
        return nodes, self._able[nodes] - after

    def _note(self, cluster: Cluster) -> None:
        last, self._last = self._last, cluster
        if last is cluster:
            return
        if last is None:
            self._able = np.zeros((cluster.nodes, len(self._gangs.gpus)), np.int64)
            at = np.arange(cluster.nodes)
        else:
            at = np.flatnonzero(differing(last, cluster))
        self._able[at] = held(
            cluster.cpu_milli[at], cluster.memory_mib[at], cluster.gpu_milli[at], cluster.model[at], self._gangs
        )
