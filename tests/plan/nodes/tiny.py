"""Tiny clusters, requests and a slow, literal reading of what the policies should do."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from hypothesis import strategies as st

from moyai.plan.nodes.cluster import GPUS, WHOLE, Cluster, Placement, Request, place

MODELS = ("A", "B")

shares = st.sampled_from([100, 250, 300, 500, 700, 1000])


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any pod: without GPU, with a share, or with whole ones; some take one model only."""
    cpu, memory = draw(st.sampled_from([0, 1000, 2000, 4000, 9000])), draw(st.sampled_from([0, 100, 300, 700]))
    gpus = draw(st.sampled_from([0, 1, 1, 1, 2, 4, 8]))
    if not gpus:
        return Request(cpu, memory)
    models = draw(st.sampled_from([frozenset[str](), frozenset({"A"}), frozenset({"B"}), frozenset({"A", "C"})]))
    return Request(cpu, memory, gpus, WHOLE if gpus > 1 else draw(shares), models)


nodes = st.tuples(
    st.sampled_from([0, 4000, 8000, 16000]), st.sampled_from([0, 500, 1000]), st.integers(0, GPUS)
).flatmap(lambda n: st.tuples(*map(st.just, n), st.sampled_from(MODELS) if n[2] else st.just("")))
clusters = st.lists(nodes, min_size=1, max_size=5).map(Cluster.of)


@st.composite
def used(draw: st.DrawFn) -> Cluster:
    """A cluster with some GPUs already shared out."""
    cluster = draw(clusters)
    taken = draw(
        st.lists(
            st.sampled_from([0, 0, 0, 200, 500, 1000]), min_size=cluster.nodes * GPUS, max_size=cluster.nodes * GPUS
        )
    )
    left = np.maximum(cluster.gpu_milli - np.array(taken, np.int64).reshape(-1, GPUS), 0)
    return Cluster(cluster.cpu_milli, cluster.memory_mib, left, cluster.model, cluster.models)


def everywhere(cluster: Cluster, request: Request) -> Iterator[Placement]:
    """Every placement that the request could have, by trying all."""
    for node in range(cluster.nodes):
        if cluster.cpu_milli[node] < request.cpu_milli or cluster.memory_mib[node] < request.memory_mib:
            continue
        if request.gpus and cluster.model[node] < 0:
            continue
        if request.gpus and request.models and cluster.models[cluster.model[node]] not in request.models:
            continue
        for gpus in combinations(range(GPUS), request.gpus):
            if all(cluster.gpu_milli[node][g] >= request.gpu_milli for g in gpus):
                yield Placement(node, gpus)


def fragmentation(cluster: Cluster, node: int, request: Request) -> int:
    """F of one node for one class, as the paper words it: everything free, or what is free in parts too small."""
    free = [int(g) for g in cluster.gpu_milli[node]]
    if not request.gpus or not any(p.node == node for p in everywhere(cluster, request)):
        return sum(free)
    return sum(g for g in free if g < request.gpu_milli)


def holds(cluster: Cluster, node: int, request: Request) -> int:
    """How many pods of a class one node takes, by putting one after another."""
    count = 0
    while True:
        there = next((p for p in everywhere(cluster, request) if p.node == node), None)
        if there is None:
            return count
        cluster, count = place(cluster, request, there), count + 1
