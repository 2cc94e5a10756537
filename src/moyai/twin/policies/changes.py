"""What changed between two tuples that are mostly the same objects: told without a look at each of them."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def changes(old: tuple[T, ...], new: tuple[T, ...], key: Callable[[T], str]) -> tuple[list[T], list[T]]:
    """(those of `old` whose key isn't in `new`, those of `new` that aren't the same in `old`).

    Both are in the order of their keys; if they aren't, some are told as gone and come again.
    """
    gone: list[T] = []
    come: list[T] = []
    i = j = 0
    while i < len(old) and j < len(new):
        alike = _alike(old, new, i, j)
        i, j = i + alike, j + alike
        if i == len(old) or j == len(new):
            break
        a, b = key(old[i]), key(new[j])
        if a < b:
            gone.append(old[i])
            i += 1
        else:
            come.append(new[j])
            j += 1
            i += a == b
    return [*gone, *old[i:]], [*come, *new[j:]]


def _alike(old: tuple[T, ...], new: tuple[T, ...], i: int, j: int) -> int:
    """How many are the same one after another from `i` and `j` on: by slices, whose comparison is fast."""
    most = min(len(old) - i, len(new) - j)
    done, count, step = 0, 0, 16
    while done < most:
        count = min(step, most - done)
        if old[i + done : i + done + count] != new[j + done : j + done + count]:
            break
        done, step = done + count, 4 * step
    else:
        return done
    while count > 1:  # the first difference is among the `count` next ones
        half = count // 2
        if old[i + done : i + done + half] == new[j + done : j + done + half]:
            done, count = done + half, count - half
        else:
            count = half
    return done
