"""Whole nodes or whole GPUs on several nodes at once, inside one network domain: all of a gang, or nothing."""

import numpy as np

from moyai.plan.nodes.cluster import WHOLE, Cluster, Ints, Placement, Request, fitting
from moyai.plan.nodes.policies import tightest


def gang(cluster: Cluster, request: Request, ranks: int, domain: Ints) -> tuple[Placement, ...] | None:
    """`ranks` placements of `request`, each on a node of its own, all in one domain; None where no domain has them.

    domain  (N,) the network domain of each node, from 0

    The domain with the fewest nodes that could take a rank and are enough, so that larger ones stay for larger gangs;
    then the lowest. In it, nodes by buckets of free whole GPUs, the fewest first; then the least free cores, then by
    index. The placements are in the order of their nodes. Raises ValueError for less than one rank, or domains that
    aren't one for each node.
    """
    if ranks < 1:
        raise ValueError(f"a gang has at least one rank, not {ranks}")
    if domain.shape != (cluster.nodes,) or (cluster.nodes and domain.min() < 0):
        raise ValueError("a domain from 0 is needed for each node")
    nodes = np.flatnonzero(fitting(cluster, request))
    if len(nodes) < ranks:
        return None
    able = np.bincount(domain[nodes])
    enough = np.flatnonzero(able >= ranks)
    if not len(enough):
        return None
    nodes = nodes[domain[nodes] == enough[able[enough].argmin()]]
    bucket = (cluster.gpu_milli[nodes] == WHOLE).sum(axis=1)
    order = np.lexsort((nodes, cluster.cpu_milli[nodes], bucket))[:ranks]
    return tuple(
        Placement(int(node), tightest(cluster.gpu_milli[node], request)) for node in sorted(nodes[order].tolist())
    )
