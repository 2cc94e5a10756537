"""What a node's free GPUs are worth to the pods that are expected: its free GPU less its fragmentation.

Integers throughout (weights are counts), so that equal is equal and a plan is the same on every machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import cast

import numpy as np

from moyai.plan.nodes.cluster import GPUS, WHOLE, Ints, Mask, Request, accepted


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """The pods that are expected, as classes with weights. K classes that ask for a GPU, S different shares."""

    cpu_milli: Ints  # (K,)
    memory_mib: Ints  # (K,)
    gpus: Ints  # (K,)
    share: Ints  # (K,) index into `shares`
    shares: Ints  # (S,) thousandths of a GPU
    takes: Mask  # (models + 1, K): which model each class accepts; the last row is a node without GPUs
    weight: Ints  # (K,) how many of each are expected


MOST_WEIGHT = 1 << 43
"""Bound on the sum of a mix's weights, so that no worth reaches 2^63: times 10,000 √8,000 it is below."""

_ROOTS: Ints = np.array([isqrt(pods * 10**8) for pods in range(GPUS * WHOLE + 1)], np.int64)
"""10,000 √pods, rounded down, for as many pods as a node can hold (shares of 1 thousandth)."""


def mix_of(counts: Mapping[Request, int], models: tuple[str, ...], *, power: int = 0, part: float = 1.0) -> Mix:
    """The mix of `counts` pods of each class, for a cluster of these models.

    power  a class weighs its pods × (the GPU thousandths that one asks for) ^ power; 2 is for gangs' sake
    part   keep the most frequent classes until they are this part of all pods; FGD's "typical pods" are .95

    Classes without a GPU count toward `part` and then drop out: no free GPU is of use to them, whichever node it is
    on, so that they are the same on both sides of every comparison.
    Raises ValueError for a part outside (0, 1], a power below 0, or weights that could overflow.
    """
    if not 0 < part <= 1:
        raise ValueError(f"the part of the pods must be above 0 and at most 1, not {part}")
    if power < 0:
        raise ValueError(f"the power must not be below 0: {power}")
    ranked = sorted(counts.items(), key=lambda kv: (-kv[1], _order(kv[0])))
    total, seen = sum(counts.values()), 0
    kept: list[tuple[Request, int]] = []
    for request, count in ranked:
        if seen >= part * total:
            break
        seen += count
        if request.gpus and count:
            kept.append((request, count * request.asked_milli**power))
    if sum(weight for _, weight in kept) >= MOST_WEIGHT:
        raise ValueError(f"the weights of the pods come to {MOST_WEIGHT} or more")
    shares = sorted({request.gpu_milli for request, _ in kept})
    takes = np.zeros((len(models) + 1, len(kept)), np.bool_)
    for k, (request, _) in enumerate(kept):
        takes[:, k] = accepted(models, request)
    return Mix(
        np.array([r.cpu_milli for r, _ in kept], np.int64),
        np.array([r.memory_mib for r, _ in kept], np.int64),
        np.array([r.gpus for r, _ in kept], np.int64),
        np.array([shares.index(r.gpu_milli) for r, _ in kept], np.int64),
        np.array(shares, np.int64),
        takes,
        np.array([w for _, w in kept], np.int64),
    )


def _order(request: Request) -> tuple[int, int, int, int, list[str]]:
    return (request.gpus, request.gpu_milli, request.cpu_milli, request.memory_mib, sorted(request.models))


Worth = Callable[[Ints, Ints, Ints, Ints, Mix], Ints]
"""(rows,) cpu_milli, (rows,) memory_mib, (rows, 8) gpu_milli, (rows,) model, mix → (rows,) worth, weight × milli."""


def unfragmented(cpu_milli: Ints, memory_mib: Ints, gpu_milli: Ints, model: Ints, mix: Mix) -> Ints:
    """(rows,): each node's free GPU less its expected fragmentation, times the mix's weight; weight × milli.

    FGD: a node that can't run a class has all its free GPU as fragments for it; one that can has those GPUs that are
    less free than the class asks of each. Source: Weng et al., USENIX ATC'23, "Beware of Fragmentation", section 4.
    """
    free = gpu_milli[:, :, None]
    enough = free >= mix.shares  # (rows, 8, S)
    count = enough.sum(axis=1)  # (rows, S)
    usable = (free * enough).sum(axis=1)
    fits = _fits(cpu_milli, memory_mib, model, mix) & (count[:, mix.share] >= mix.gpus)
    return cast(Ints, (usable[:, mix.share] * fits) @ mix.weight)


def room(cpu_milli: Ints, memory_mib: Ints, gpu_milli: Ints, model: Ints, mix: Mix) -> Ints:
    """(rows,): the square root of how many pods of a class the node still holds, times the class's weight, summed.

    Two things that fragmentation doesn't see. It counts the pods that cores, memory and GPUs hold together: 8 free
    GPUs beside cores for one pod are worth one pod. And the root falls off: the last place for a class costs more
    than one of many, so that some room for each class is kept. Units: weight × 10,000 roots.
    Source: our own; tuned on openb's `default`, see docs/adr/011-node-packing.md.
    """
    return cast(Ints, _ROOTS[held(cpu_milli, memory_mib, gpu_milli, model, mix)] @ mix.weight)


def held(cpu_milli: Ints, memory_mib: Ints, gpu_milli: Ints, model: Ints, mix: Mix) -> Ints:
    """(rows, K): how many pods of each class a node still holds, by cores, memory, GPUs and model together."""
    pods = _whole(_whole(gpu_milli[:, :, None], mix.shares).sum(axis=1)[:, mix.share], mix.gpus)
    np.minimum(pods, _pods(cpu_milli, mix.cpu_milli), out=pods)
    np.minimum(pods, _pods(memory_mib, mix.memory_mib), out=pods)
    return pods * mix.takes[model]


def _fits(cpu_milli: Ints, memory_mib: Ints, model: Ints, mix: Mix) -> Mask:
    """(rows, K): whose cores, memory and model do for a class."""
    return (cpu_milli[:, None] >= mix.cpu_milli) & (memory_mib[:, None] >= mix.memory_mib) & mix.takes[model]


def _pods(free: Ints, asked: Ints) -> Ints:
    """(rows, K): how many pods a free amount holds; as many as a node has GPU thousandths where they ask for none."""
    pods = _whole(free[:, None], np.maximum(asked, 1))
    pods[:, asked == 0] = GPUS * WHOLE
    return pods


def _whole(amount: Ints, part: Ints) -> Ints:
    """How often a part above 0 goes into an amount from 0: as `//`, exact below 2^52, in a third of its time."""
    return (amount / part).astype(np.int64)
