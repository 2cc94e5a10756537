"""Nodes as arrays, a pod's request, and where it was put. Values: placing gives a new cluster.

Shapes: N nodes, G = 8 GPU places on each. A GPU that isn't there has 0 thousandths free, so that nothing fits it.
Units: thousandths of a core, MiB, thousandths of a GPU.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

GPUS = 8
"""GPU places of a node."""
WHOLE = 1000
"""Thousandths of a whole GPU."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a pod asks of one node. Frozen and hashable: equal requests are one class.

    Raises ValueError for a negative amount, a share of several GPUs, more than 8 GPUs, or GPUs of 0 thousandths.
    """

    cpu_milli: int
    memory_mib: int
    gpus: int = 0
    gpu_milli: int = 0  # of each GPU; 1000: a whole one; 0 without GPUs
    models: frozenset[str] = frozenset()  # GPU models that it may have; empty: any

    def __post_init__(self) -> None:
        if min(self.cpu_milli, self.memory_mib, self.gpus, self.gpu_milli) < 0:
            raise ValueError(f"a pod can't ask for less than nothing: {self}")
        if self.gpus > GPUS or self.gpu_milli > WHOLE:
            raise ValueError(f"a pod has at most {GPUS} GPUs, and at most {WHOLE} thousandths of each: {self}")
        if (self.gpus == 0) != (self.gpu_milli == 0):
            raise ValueError(f"{self.gpu_milli} thousandths of {self.gpus} GPUs")
        if self.gpus > 1 and self.gpu_milli != WHOLE:
            raise ValueError(f"a share is of one GPU, not of {self.gpus}")

    @property
    def asked_milli(self) -> int:
        """GPU thousandths on all its GPUs together."""
        return self.gpus * self.gpu_milli


@dataclass(frozen=True, slots=True)
class Placement:
    """The node of a pod, and its GPUs on that node in rising order (empty: none asked)."""

    node: int
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """What is free on every node. The arrays aren't written to."""

    cpu_milli: Ints  # (N,)
    memory_mib: Ints  # (N,)
    gpu_milli: Ints  # (N, 8)
    model: Ints  # (N,) index into `models`; -1: no GPU
    models: tuple[str, ...]

    @staticmethod
    def of(nodes: Iterable[tuple[int, int, int, str]]) -> "Cluster":
        """An empty cluster of (cores in thousandths, memory in MiB, GPUs, GPU model), in that order.

        Raises ValueError for a node of more than 8 GPUs, or of GPUs without a model.
        """
        rows = list(nodes)
        for cpu_milli, memory_mib, gpus, model in rows:
            if not 0 <= gpus <= GPUS or min(cpu_milli, memory_mib) < 0 or bool(gpus) != bool(model):
                raise ValueError(f"no such node: {cpu_milli} mCPU, {memory_mib} MiB, {gpus} GPUs of model {model!r}")
        models = tuple(sorted({row[3] for row in rows if row[3]}))
        index = {name: i for i, name in enumerate(models)}
        gpu_milli = np.zeros((len(rows), GPUS), np.int64)
        for i, row in enumerate(rows):
            gpu_milli[i, : row[2]] = WHOLE
        return Cluster(
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            gpu_milli,
            np.array([index.get(row[3], -1) for row in rows], np.int64),
            models,
        )

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.cpu_milli)


def accepted(models: Sequence[str], request: Request) -> Mask:
    """(len(models) + 1,): which model indices the request takes; the last, read at -1, is a node without GPUs.

    A pod without GPUs goes anywhere; one with GPUs never to a node without.
    """
    takes = [not request.gpus or not request.models or name in request.models for name in models]
    return np.array([*takes, not request.gpus], np.bool_)


def fitting(cluster: Cluster, request: Request) -> Mask:
    """(N,): on which nodes the request fits now."""
    fits = (cluster.cpu_milli >= request.cpu_milli) & (cluster.memory_mib >= request.memory_mib)
    if request.gpus:
        fits &= accepted(cluster.models, request)[cluster.model]
        fits &= (cluster.gpu_milli >= request.gpu_milli).sum(axis=1) >= request.gpus
    return fits


def place(cluster: Cluster, request: Request, placement: Placement) -> Cluster:
    """The cluster with the request taken from its node. Raises ValueError where it doesn't fit there."""
    node, gpus = placement.node, list(placement.gpus)
    free = cluster.gpu_milli[node, gpus]
    if (
        len(set(gpus)) != request.gpus
        or (free < request.gpu_milli).any()
        or cluster.cpu_milli[node] < request.cpu_milli
        or cluster.memory_mib[node] < request.memory_mib
        or not accepted(cluster.models, request)[cluster.model[node]]
    ):
        raise ValueError(f"{request} doesn't fit at {placement}")
    cpu_milli, memory_mib = cluster.cpu_milli.copy(), cluster.memory_mib.copy()
    gpu_milli = cluster.gpu_milli.copy()
    cpu_milli[node] -= request.cpu_milli
    memory_mib[node] -= request.memory_mib
    gpu_milli[node, gpus] -= request.gpu_milli
    return replace(cluster, cpu_milli=cpu_milli, memory_mib=memory_mib, gpu_milli=gpu_milli)
