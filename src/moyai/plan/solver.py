"""HiGHS behind one function: the programme of `exact` in arrays, and what of its answer is safe to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from moyai.model.units import MICRO_YEN
from moyai.plan.problem import Problem

if TYPE_CHECKING:
    from moyai.plan.exact import Cell, Row

MOST_NODES = 100
"""Nodes of the search after which the best answer so far is taken: the same on every machine, unlike a time limit."""


@dataclass(frozen=True, slots=True)
class Solution:
    """`counts`: jobs of each variable, empty where none was found. `dual_micro_yen`: no sum of values is higher.

    Values are counted from the best that each job could have, so that both are at most about 0.
    """

    counts: tuple[int, ...]
    dual_micro_yen: float


def solve(
    problem: Problem,
    columns: Sequence[Cell | int],
    rows: Sequence[Row],
    best: Sequence[int],
    hint: Sequence[float],
    *,
    worth: int,
) -> Solution | None:
    """The best plan of the variables `columns` under `rows`, started from `hint`; None where HiGHS gave no bound.

    `best` is what one job of each class could have at best, and `worth` the value of `hint`, in micro-yen.
    """
    import highspy
    import numpy as np

    core = cast("type[highspy.Highs]", highspy.Highs.__mro__[1])
    policy = problem.policy
    spare = sum(len(cls.jobs) * top for cls, top in zip(problem.classes, best, strict=True)) - worth
    value = [_left_out(problem, c, best, spare) if isinstance(c, int) else c.value - best[c.cls] for c in columns]
    jobs = [float(len(problem.classes[c if isinstance(c, int) else c.cls].jobs)) for c in columns]
    infinity = highspy.kHighsInf
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(columns), len(rows)
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = np.array(value, dtype=np.float64) / MICRO_YEN
    model.col_lower_, model.col_upper_ = np.zeros(len(columns)), np.array(jobs)
    model.row_lower_ = np.array([r.limit if r.at_least else -infinity for r in rows])
    model.row_upper_ = np.array([infinity if r.at_least else r.limit for r in rows])
    matrix = model.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.start_ = np.cumsum([0, *(len(r.columns) for r in rows)], dtype=np.int32)
    matrix.index_ = np.array([j for r in rows for j in r.columns], dtype=np.int32)
    matrix.value_ = np.array([w for r in rows for w in r.weights], dtype=np.float64)
    model.integrality_ = [highspy.HighsVarType.kInteger] * len(columns)

    highs = core()  # not `Highs()`: that prints a line before it can be told not to
    for option, setting in (
        ("output_flag", False),
        ("presolve", "off"),  # HiGHS 1.16 may lose a part of the objective there, and with it the bound
        ("threads", 1),
        ("random_seed", 1),
        ("time_limit", float(policy.exact_seconds)),
        ("mip_max_nodes", MOST_NODES),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", policy.exact_gap_milli / 2_000 * max(1.0, abs(worth) / MICRO_YEN)),
    ):
        highs.setOptionValue(option, setting)
    highs.passModel(model)
    start = highspy.HighsSolution()
    start.col_value = list(hint)
    highs.setSolution(start)
    if highs.run() == highspy.HighsStatus.kError:
        # Another user of HiGHS in this process has set its threads to another number: they are set anew.
        core.resetGlobalScheduler(True)
        if highs.run() == highspy.HighsStatus.kError:
            return None
    info = highs.getInfo()
    dual = float(info.mip_dual_bound)
    if not np.isfinite(dual):
        return None
    slack = 1e-3 + 1e-7 * sum(abs(v) for v in value) / MICRO_YEN  # what the solver's tolerances may hide, in yen
    found: tuple[int, ...] = ()
    if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        found = tuple(round(x) for x in highs.getSolution().col_value)
    return Solution(found, (dual + slack) * MICRO_YEN)


def _left_out(problem: Problem, cls: int, best: Sequence[int], spare: int) -> int:
    """What it costs to leave out a job, counted from its best: no more than rules out every plan that does so.

    A plan that is better than the hint loses less than `spare` in all. The whole penalty may be a hundred times that,
    and what the solver's tolerances hide grows with the figures that it is given.
    """
    return max(problem.classes[cls].unplaced - best[cls], -(spare + MICRO_YEN))
