"""Which node and GPUs a pod gets: random, first fit, best fit, and the gradient of a worth (FGD is one).

Each function takes a cluster and a request and answers with a Placement, or None where the request fits no node.
Nodes that are equal by a policy are taken by index, and so are equal GPUs of a node. None raises.
"""

from collections.abc import Callable
from typing import cast

import numpy as np

from moyai.plan.nodes.cluster import GPUS, WHOLE, Cluster, Ints, Mask, Placement, Request, accepted, fitting
from moyai.plan.nodes.worth import Mix, Worth, unfragmented

Policy = Callable[[Cluster, Request], Placement | None]

NEVER = int(np.iinfo(np.int64).max)
"""The loss of a node on which the request doesn't fit."""


def random(cluster: Cluster, request: Request, generator: np.random.Generator) -> Placement | None:
    """Any node on which the request fits, each alike, and any GPUs there. One or two draws of `generator` a pod.

    The only policy with chance in it; whoever calls it seeds the generator.
    """
    nodes = np.flatnonzero(fitting(cluster, request))
    if not len(nodes):
        return None
    node = int(nodes[generator.integers(len(nodes))])
    if not request.gpus:
        return Placement(node)
    free = np.flatnonzero(cluster.gpu_milli[node] >= request.gpu_milli)
    chosen = generator.choice(free, request.gpus, replace=False)
    return Placement(node, tuple(sorted(int(gpu) for gpu in chosen)))


def first_fit(cluster: Cluster, request: Request) -> Placement | None:
    """The first node on which the request fits, and its first GPUs that do."""
    fits = fitting(cluster, request)
    node = int(fits.argmax()) if len(fits) else 0
    if not fits.any():
        return None
    free = np.flatnonzero(cluster.gpu_milli[node] >= request.gpu_milli)[: request.gpus]
    return Placement(node, tuple(int(gpu) for gpu in free))


def best_fit(cluster: Cluster, request: Request) -> Placement | None:
    """The fullest node on which the request fits: least GPU free, then least cores, then least memory.

    Whole GPUs are taken by buckets first: the node with the fewest free whole GPUs that are enough, so that full
    nodes stay for gangs. A share is put on the fullest GPU that holds it.
    """
    nodes = np.flatnonzero(fitting(cluster, request))
    if request.gpu_milli == WHOLE:
        bucket = (cluster.gpu_milli[nodes] == WHOLE).sum(axis=1)
        nodes = nodes[bucket == bucket.min()] if len(nodes) else nodes
    if not len(nodes):
        return None
    node = _fullest(cluster, nodes)
    return Placement(node, tightest(cluster.gpu_milli[node], request))


def tightest(gpu_milli: Ints, request: Request) -> tuple[int, ...]:
    """The fullest GPUs of one node, (8,) free thousandths, that hold the request; equal ones by index, in order."""
    order = np.argsort(gpu_milli, kind="stable")
    chosen = order[gpu_milli[order] >= request.gpu_milli][: request.gpus]
    return tuple(sorted(int(gpu) for gpu in chosen))


def gradient(cluster: Cluster, request: Request, mix: Mix, worth: Worth) -> Placement | None:
    """The node and GPUs that cost the mix the least worth; equal ones by best fit, then by index."""
    return cheapest(cluster, *losses(cluster, request, mix, worth, np.arange(cluster.nodes)), request)


def fgd(cluster: Cluster, request: Request, mix: Mix) -> Placement | None:
    """Fragmentation gradient descent: the least increase of expected fragmentation; equal ones by best fit.

    Source: Weng et al., USENIX ATC'23, "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
    Gradient Descent". Theirs rounds the increase to a score of 0 to 100; here it is exact.
    """
    return gradient(cluster, request, mix, unfragmented)


def losses(
    cluster: Cluster, request: Request, mix: Mix, worth: Worth, nodes: Ints, *, before: Ints | None = None
) -> tuple[Ints, Ints]:
    """What the request costs on each of `nodes` (R,): (R,) loss of worth in weight × milli, and (R,) its GPU there.

    `before` (R,) is the worth of each node as it is, for who has it at hand.

    The loss is NEVER where it doesn't fit. The GPU is that of a share, the tightest of those that cost the least; -1
    otherwise. The increase of fragmentation is the loss less weight × what is asked, which is the same on every node.
    """
    loss = np.full(len(nodes), NEVER, np.int64)
    gpu = np.full(len(nodes), -1, np.int64)
    model = cluster.model[nodes]
    gpu_milli = cluster.gpu_milli[nodes]
    cpu_milli = cluster.cpu_milli[nodes]
    memory_mib = cluster.memory_mib[nodes]
    holds = gpu_milli >= request.gpu_milli
    fits = (cpu_milli >= request.cpu_milli) & (memory_mib >= request.memory_mib)
    fits &= accepted(cluster.models, request)[model] & (holds.sum(axis=1) >= request.gpus)
    at = np.flatnonzero(fits)
    if not len(at):
        return loss, gpu
    cpu_milli, memory_mib, gpu_milli, model = cpu_milli[at], memory_mib[at], gpu_milli[at], model[at]
    before = worth(cpu_milli, memory_mib, gpu_milli, model, mix) if before is None else before[at]
    cpu_left, memory_left = cpu_milli - request.cpu_milli, memory_mib - request.memory_mib
    if not 0 < request.gpu_milli < WHOLE:
        left = gpu_milli - WHOLE * _first(holds[at], request.gpus)
        loss[at] = before - worth(cpu_left, memory_left, left, model, mix)
        return loss, gpu
    row, place = np.nonzero(holds[at] & ~_repeated(gpu_milli))
    left = gpu_milli[row]
    left[np.arange(len(row)), place] -= request.gpu_milli
    lost = before[row] - worth(cpu_left[row], memory_left[row], left, model[row], mix)
    order = np.lexsort((place, gpu_milli[row, place], lost, row))
    best = order[np.flatnonzero(np.diff(row[order], prepend=-1))]  # the first of each node
    loss[at], gpu[at] = lost[best], place[best]
    return loss, gpu


def left(cluster: Cluster, request: Request, nodes: Ints, gpu: Ints) -> tuple[Ints, Ints, Ints]:
    """What each of `nodes` (R,), on which it fits, has free after the request: (R,) cores, (R,) memory, (R, 8) GPUs.

    `gpu` (N,) is the GPU of a share, as from `losses`; whole GPUs are the first free ones.
    """
    gpu_milli = cluster.gpu_milli[nodes]
    if 0 < request.gpu_milli < WHOLE:
        gpu_milli[np.arange(len(nodes)), gpu[nodes]] -= request.gpu_milli
    elif request.gpus:
        gpu_milli = gpu_milli - WHOLE * _first(gpu_milli >= WHOLE, request.gpus)
    return cluster.cpu_milli[nodes] - request.cpu_milli, cluster.memory_mib[nodes] - request.memory_mib, gpu_milli


def cheapest(cluster: Cluster, loss: Ints, gpu: Ints, request: Request) -> Placement | None:
    """The placement with the least of (N,) `loss`, equal ones by best fit; `gpu` as from `losses`."""
    least = loss.min(initial=NEVER)
    if least == NEVER:
        return None
    node = _fullest(cluster, np.flatnonzero(loss == least))
    return Placement(node, (int(gpu[node]),) if gpu[node] >= 0 else tightest(cluster.gpu_milli[node], request))


def _fullest(cluster: Cluster, nodes: Ints) -> int:
    """Of some nodes that with the least free: GPU, then cores, then memory, then the lowest index."""
    if len(nodes) == 1:
        return int(nodes[0])
    free = cluster.gpu_milli[nodes].sum(axis=1)
    return int(nodes[np.lexsort((nodes, cluster.memory_mib[nodes], cluster.cpu_milli[nodes], free))[0]])


def _first(holds: Mask, count: int) -> Mask:
    """(rows, 8): the first `count` true places of each row."""
    return holds & (holds.cumsum(axis=1) <= count)


def _repeated(gpu_milli: Ints) -> Mask:
    """(rows, 8): a GPU that is as free as one before it on its node: putting a share there is no other choice."""
    same = gpu_milli[:, :, None] == gpu_milli[:, None, :]
    return cast(Mask, (same & np.tri(GPUS, GPUS, -1, dtype=np.bool_)).any(axis=2))
