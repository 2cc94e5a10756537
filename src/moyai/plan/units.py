"""Node capacity in node units: ways to count what ranks take so that no node ever holds more than 1 of any."""

from collections.abc import Sequence

from moyai.model.site import Flavor
from moyai.plan.pack import Size, size_of
from moyai.plan.types import Busy

_WAYS = 4
MEASURES = 3 * _WAYS
"""Of cores, memory and accelerators each."""


def shares(need: int, capacity: int) -> tuple[float, ...]:
    """What a rank takes of a node in one resource, measured in ways that each sum to at most 1 on a node.

    The first is the plain share. The others count a share above 1/(k+1) as so many times 1/k, as no more than k of
    them fit. Source: dual feasible functions, Martello & Toth 1990; Fekete & Schepers 2001.
    """
    if not need or not capacity:
        return (0.0,) * _WAYS
    ways = [need / capacity]
    for k in range(1, _WAYS):
        parts, rest = divmod((k + 1) * need, capacity)
        ways.append(parts / k if rest else need / capacity)
    return tuple(ways)


def measures(flavor: Flavor, size: Size) -> tuple[float, ...]:
    """What one rank takes of a node of a flavor, in all measures."""
    node = (flavor.cores, flavor.memory_bytes, flavor.accelerators)
    return tuple(x for need, capacity in zip(size, node, strict=True) for x in shares(need, capacity))


def held_by(flavor: Flavor, busy: Busy) -> dict[int, tuple[float, ...]]:
    """What an attempt holds of each node of a flavor, in all measures."""
    one = measures(flavor, size_of(busy.need))
    held: dict[int, tuple[float, ...]] = {}
    for node in busy.nodes:
        if 0 <= node < flavor.count:
            held[node] = tuple(a + b for a, b in zip(held[node], one, strict=True)) if node in held else one
    return held


def room_at(flavor: Flavor, held: Sequence[tuple[Busy, int]], at: int) -> tuple[float, ...]:
    """Node units of a pool that are free at an instant, in all measures. `held` is (attempt, its end)."""
    nodes: dict[int, list[float]] = {}
    for busy, end in held:
        if end <= at:
            continue
        for node, taken in held_by(flavor, busy).items():
            so_far = nodes.setdefault(node, [0.0] * MEASURES)
            for r, part in enumerate(taken):
                so_far[r] += part
    return tuple(flavor.count - sum(min(1.0, taken[r]) for taken in nodes.values()) for r in range(MEASURES))
