"""The figures of many replays as tables: a row for each policy, the mean over the seeds and its 95 % interval."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import floor, inf, isfinite, isnan, log10

from moyai.locale import t
from moyai.twin.compare.task import Run
from moyai.twin.replay.figures import Figures, interval


@dataclass(frozen=True, slots=True)
class Line:
    """One policy under one kind of estimates: each figure as (mean over the seeds, half its 95 % interval)."""

    policy: str
    estimates: str
    runs: int
    figures: dict[str, tuple[float, float]]  # infinite half: one run alone; NaN mean: no run has it


@dataclass(frozen=True, slots=True)
class Column:
    """How a figure is shown. `span`: it is in seconds, and shown in the unit that suits it."""

    figure: str
    divided_by: float = 1.0
    decimals: int = 0  # at least
    whole: bool = False  # a count: never with decimals
    span: bool = False


OUTCOME = (
    Column("hit_rate", 0.01, 1),
    Column("mean_completion_s", decimals=1, span=True),
    Column("p99_completion_s", decimals=1, span=True),
    Column("mean_wait_s", decimals=1, span=True),
    Column("rejected", whole=True),
    Column("unfinished", whole=True),
    Column("preemptions", whole=True),
    Column("lost_gpu_h", decimals=1),
)
"""What became of the jobs."""
COST = (
    Column("yen"),
    Column("kwh"),
    Column("carbon_kg"),
    Column("peak_kw"),
    Column("wan_gb"),
    Column("allocated_pct", decimals=1),
    Column("makespan_h", decimals=1),
)
"""What it took."""
PLANNING = (
    Column("plans", whole=True),
    Column("plan_p50_s", 0.001),
    Column("plan_p99_s", 0.001),
    Column("gap_mean", 0.01, 2),
    Column("gap_max", 0.01, 2),
    Column("events", whole=True),
    Column("wall_s"),
)
"""How the planner did, and the twin itself: real seconds of this machine."""
TABLES = (OUTCOME, COST, PLANNING)
UNITS = (("s", 1.0, 300.0), ("min", 60.0, 18_000.0), ("h", 3_600.0, inf))
"""(unit, seconds in it, the largest mean in seconds for which it is taken)."""
SMALL = 10.0
"""Figures whose largest is below are shown with three digits that say something."""


def lines(runs: Sequence[Run]) -> tuple[Line, ...]:
    """A line for each policy and kind of estimates, in the order of the runs."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.task.estimates, run.task.policy), []).append(run)
    return tuple(
        Line(policy, estimates, len(mine), {f.name: _over(mine, f.name) for f in fields(Figures)})
        for (estimates, policy), mine in found.items()
    )


def _over(runs: Sequence[Run], name: str) -> tuple[float, float]:
    values = [float(getattr(run.figures, name)) for run in runs]
    known = [value for value in values if isfinite(value)]
    return interval(known) if known else (float("nan"), float("nan"))


def table(found: Sequence[Line], columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of text in the reader's language; estimates are a column where there are several kinds."""
    several = len({line.estimates for line in found}) > 1
    headings = [t("twin.head.policy"), *([t("twin.head.estimates")] if several else [])]
    cells = [[line.policy, *([t(f"twin.estimates.{line.estimates}")] if several else [])] for line in found]
    for column in columns:
        values = [line.figures[column.figure] for line in found]
        largest = max((abs(mean) for mean, _ in values if isfinite(mean)), default=0.0)
        unit, divided_by = _unit(column, largest)
        headings.append(t(f"twin.head.{column.figure.replace('_', '-')}") + (f" {unit}" if unit else ""))
        decimals = _decimals(column, largest / divided_by)
        for row, value in zip(cells, values, strict=True):
            row.append(cell(value, divided_by, decimals))
    return headings, cells


def _unit(column: Column, largest: float) -> tuple[str, float]:
    if not column.span:
        return "", column.divided_by
    return next((unit, size) for unit, size, most in UNITS if largest <= most)


def _decimals(column: Column, largest: float) -> int:
    if column.whole or not 0 < largest < SMALL:
        return column.decimals
    return max(column.decimals, min(6, 2 - floor(log10(largest))))


def cell(value: tuple[float, float], divided_by: float, decimals: int) -> str:
    """A figure with its interval: "92.4 ±0.6"; without one where there is one run alone; "–" for none."""
    mean, half = (part / divided_by for part in value)
    if isnan(mean):
        return "–"
    text = f"{mean:,.{decimals}f}"
    return f"{text} ±{half:,.{decimals}f}" if isfinite(half) else text


def document(found: Sequence[Line]) -> list[dict[str, object]]:
    """The lines for JSON: each figure as its mean, and half its interval where there are several runs."""
    return [
        {
            "policy": line.policy,
            "estimates": line.estimates,
            "runs": line.runs,
            "figures": {
                name: {"mean": _number(mean), "half": _number(half)} for name, (mean, half) in line.figures.items()
            },
        }
        for line in found
    ]


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
