"""The same question put to HiGHS as a mixed integer programme: how far from the best our answers are."""

from itertools import chain

import highspy
import numpy as np

from moyai.plan.dag import Dag


def best_of(dag: Dag, seconds: float) -> tuple[float, float]:
    """(the cost of HiGHS's best choice, inf where it has none; its bound), in so many seconds on one thread.

    One binary for each task and site, and for each edge one variable for each two sites, tied to both its ends.
    """
    tasks, sites = dag.run.shape
    x = np.arange(tasks * sites).reshape(tasks, sites)
    y = (x.size + np.arange(len(dag.edges) * sites * sites)).reshape(-1, sites, sites)
    rows: list[tuple[list[int], list[float], float, float]] = [
        ([int(j) for j in x[t]], [1.0] * sites, 1.0, 1.0) for t in range(tasks)
    ]
    for (sender, receiver), each in zip(dag.edges.tolist(), y, strict=True):
        for s in range(sites):
            for end, line in ((sender, each[s]), (receiver, each[:, s])):
                rows.append(([int(x[end, s]), *map(int, line)], [-1.0] + [1.0] * sites, 0.0, 0.0))
    rows += [
        ([int(j) for j in x[:, s]], dag.demand.tolist(), -np.inf, float(dag.capacity[s]))
        for s in np.flatnonzero(np.isfinite(dag.capacity))
    ]
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = x.size + y.size, len(rows)
    model.col_cost_ = np.concatenate([dag.run.ravel(), dag.move.ravel()])
    model.col_lower_, model.col_upper_ = np.zeros(model.num_col_), np.ones(model.num_col_)
    model.row_lower_ = np.array([max(r[2], -highspy.kHighsInf) for r in rows])
    model.row_upper_ = np.array([r[3] for r in rows])
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.cumsum([0, *(len(r[0]) for r in rows)], dtype=np.int32)
    model.a_matrix_.index_ = np.array(list(chain.from_iterable(r[0] for r in rows)), dtype=np.int32)
    model.a_matrix_.value_ = np.array(list(chain.from_iterable(r[1] for r in rows)))
    model.integrality_ = [highspy.HighsVarType.kInteger] * x.size + [highspy.HighsVarType.kContinuous] * y.size
    highs = highspy.Highs.__mro__[1]()  # not `Highs()`: that prints a line before it can be told not to
    for option, setting in (("output_flag", False), ("threads", 1), ("time_limit", seconds), ("mip_rel_gap", 1e-4)):
        highs.setOptionValue(option, setting)
    highs.passModel(model)
    highs.run()
    info = highs.getInfo()
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    return (info.objective_function_value if found else float("inf")), info.mip_dual_bound
