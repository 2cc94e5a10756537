"""From counts back to jobs."""

import numpy as np

from moyai.plan.price.instance import I64, Columns


def to_jobs(columns: Columns, cls: I64) -> I64:
    """(jobs,) the option of each job, −1 where it waits on.

    cls  (jobs,) the class of each job, in the queue's order: the first jobs of a class get its first options, which
         among those of one site and flavor are the earliest
    """
    chosen = np.full(len(cls), -1, dtype=np.int64)
    order = np.argsort(cls, kind="stable")
    ranked = cls[order]
    by_class = np.lexsort((columns.option, columns.cls))
    owner = np.repeat(columns.cls[by_class], columns.count[by_class])
    option = np.repeat(columns.option[by_class], columns.count[by_class])
    if not len(owner):
        return chosen
    nth = np.arange(len(owner)) - np.searchsorted(owner, owner)  # which job of its class
    first, after = np.searchsorted(ranked, owner), np.searchsorted(ranked, owner, side="right")
    assert (first + nth < after).all(), "more jobs of a class were placed than the queue has"
    chosen[order[first + nth]] = option
    return chosen
