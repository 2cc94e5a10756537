"""An instance cut into dense pieces: classes of one length that may run at nearly the same places, and only these.

Most classes are bound to a site, a region or a flavor. Side by side with their like they need a fraction of the full
table of classes × options, in memory and in time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from moyai.plan.price.instance import F32, F64, I64, Bool, Instance

CHUNK = 1024
"""Classes that are looked at together: what they need stays in the processor's cache."""
_SLACK = 1.25
"""A piece may hold so many times the cells that its classes need by themselves."""
_SMALL = 40_000
"""Below so many cells a piece isn't worth cutting."""
_NEVER = np.float32(-1e9)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some classes and the options that one of them may take.

    length   of all its classes, a row of `Instance.hours`
    rows     (n,)    the classes
    options  (m,)    ascending
    value    (n, m)  yen for each GPU; far below zero where a class may not run
    """

    length: int
    rows: I64
    options: I64
    value: F32


def pieces(instance: Instance, largest: F64 | None = None) -> tuple[Piece, ...]:
    """Every class that has jobs and an option, once.

    largest  (lengths, options) GPUs that a gang may have to fit; None: any
    """
    found: list[Piece] = []
    for length, first, last in instance.blocks():
        rows, places = _placeable(instance, first, last)
        for some in _cut(rows, places, instance.shape[2]):
            piece = _piece(instance, length, some, None if largest is None else largest[length])
            if len(piece.rows):
                found.append(piece)
    return tuple(found)


def only(parts: tuple[Piece, ...], kept: Bool) -> tuple[Piece, ...]:
    """The pieces with the classes alone that `kept` (classes,) says."""
    found: list[Piece] = []
    for piece in parts:
        some = kept[piece.rows]
        if some.all():
            found.append(piece)
        elif some.any():
            found.append(Piece(piece.length, piece.rows[some], piece.options, piece.value[some]))
    return tuple(found)


def _placeable(instance: Instance, first: int, last: int) -> tuple[I64, Bool]:
    """The classes that have jobs and an option, and (…, sites · flavors) where these are."""
    buckets = instance.shape[2]
    rows: list[I64] = []
    places: list[Bool] = []
    for at in range(first, last, CHUNK):
        some = slice(at, min(last, at + CHUNK))
        may: Bool = (instance.value[some] > 0).reshape(some.stop - at, -1, buckets).max(2)
        mine = np.flatnonzero(may.any(-1) & (instance.jobs[some] > 0))
        rows.append(at + mine)
        places.append(may[mine])
    return np.concatenate(rows), np.concatenate(places)


def _cut(rows: I64, places: Bool, buckets: int) -> Iterator[I64]:
    """The rows in groups of like places, few places first."""
    if not len(rows):
        return
    packed = np.packbits(places, axis=1)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, example, kind, many = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    width = places[example].sum(1)
    order = np.lexsort((np.arange(len(example)), width))
    by_kind = np.argsort(kind, kind="stable")
    start = np.cumsum(many) - many
    group: list[I64] = []
    held, need = 0, 0
    union = np.zeros(places.shape[1], dtype=bool)
    for k in order.tolist():
        mine = by_kind[start[k] : start[k] + many[k]]
        both = union | places[example[k]]
        cells = int(both.sum()) * (held + many[k]) * buckets
        own = need + int(width[k] * many[k]) * buckets
        if group and (held + many[k] > CHUNK or (cells > _SLACK * own and cells > _SMALL)):
            yield from _halved(rows[np.concatenate(group)])
            group, held, need, union = [], 0, 0, np.zeros_like(union)
            both, own = places[example[k]], int(width[k] * many[k]) * buckets
        group.append(mine)
        held, need, union = held + int(many[k]), own, both
    yield from _halved(rows[np.concatenate(group)])


def _halved(rows: I64) -> Iterator[I64]:
    """The rows in ascending order, at most `CHUNK` together."""
    rows = np.sort(rows)
    for at in range(0, len(rows), CHUNK):
        yield rows[at : at + CHUNK]


def _piece(instance: Instance, length: int, rows: I64, largest: F64 | None) -> Piece:
    """The piece of some classes of a length, without what fits nowhere."""
    table = instance.value[rows]
    may = table > 0
    if largest is not None and instance.gang[rows].max() > largest.min():
        may &= instance.gang[rows][:, None] <= largest
    options, some = np.flatnonzero(may.any(0)), may.any(1)
    cut = np.ix_(some, options)
    return Piece(length, rows[some], options, np.where(may[cut], table[cut], _NEVER))
