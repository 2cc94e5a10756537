"""The figures of a replay, and the interval that a figure of several seeds lies in."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, nan, sqrt

from moyai.model.units import J_PER_KWH, MICRO_YEN, MICROS_PER_HOUR, MICROS_PER_SECOND
from moyai.twin.replay.outcome import JobRow, Outcome


@dataclass(frozen=True, slots=True)
class Figures:
    """One replay in numbers. NaN: there is nothing to take the figure of.

    Money, energy and carbon include what idle nodes draw until the last job came.
    """

    jobs: int
    hit_rate: float  # on time, of the jobs with a deadline; rejected and unfinished ones missed theirs
    rejected: int  # that control refused: no site could ever run them
    unfinished: int  # that never ended
    failed: int  # that ended, but not well
    mean_completion_s: float  # from submission to end, of the jobs that ended well
    p99_completion_s: float
    mean_wait_s: float  # from submission to the first start, of the jobs that started
    p99_wait_s: float
    yen: float  # nodes, electricity (idle nodes included), egress; carbon apart
    bills_yen: float  # the part of it on control's bills
    kwh: float  # at all feeds
    carbon_kg: float
    peak_kw: float
    wan_gb: float
    preemptions: int
    lost_gpu_h: float  # GPU-hours done again or in vain; node-hours of jobs without GPUs
    allocated_pct: float  # accelerators held, of all, until the last job came or ended
    makespan_h: float
    plans: int
    plan_p50_s: float
    plan_p99_s: float
    gap_mean: float
    gap_max: float
    events: int
    wall_s: float


def figures(outcome: Outcome) -> Figures:
    """The figures of a replay."""
    rows = outcome.jobs
    due = [r.on_time for r in rows if r.on_time is not None]
    completion = [
        (r.ended_us - r.submitted_us) / MICROS_PER_SECOND for r in rows if r.succeeded and r.ended_us is not None
    ]
    wait = [(r.started_us - r.submitted_us) / MICROS_PER_SECOND for r in rows if r.started_us is not None]
    bills = sum(r.cost_micro_yen for r in rows)
    return Figures(
        jobs=len(rows),
        hit_rate=sum(due) / len(due) if due else nan,
        rejected=sum(r.rejected for r in rows),
        unfinished=sum(r.ended_us is None and not r.rejected for r in rows),
        failed=sum(r.ended_us is not None and not r.succeeded for r in rows),
        mean_completion_s=_mean(completion),
        p99_completion_s=quantile(completion, 0.99),
        mean_wait_s=_mean(wait),
        p99_wait_s=quantile(wait, 0.99),
        yen=(bills + outcome.idle_micro_yen) / MICRO_YEN,
        bills_yen=bills / MICRO_YEN,
        kwh=outcome.feed_energy_j / J_PER_KWH,
        carbon_kg=(sum(r.carbon_mg for r in rows) + outcome.idle_carbon_mg) / 1e6,
        peak_kw=outcome.peak_w / 1e3,
        wan_gb=outcome.wan_bytes / 1e9,
        preemptions=sum(r.preemptions for r in rows),
        lost_gpu_h=sum(r.lost_us * _units(r) for r in rows) / MICROS_PER_HOUR,
        allocated_pct=100 * outcome.held_us / outcome.units_us if outcome.units_us else nan,
        makespan_h=outcome.span_us / MICROS_PER_HOUR,
        plans=len(outcome.plan_s),
        plan_p50_s=quantile(outcome.plan_s, 0.5),
        plan_p99_s=quantile(outcome.plan_s, 0.99),
        gap_mean=_mean(outcome.gaps),
        gap_max=max(outcome.gaps, default=nan),
        events=outcome.events,
        wall_s=outcome.wall_s,
    )


def _units(row: JobRow) -> int:
    return row.accelerators or row.nodes


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else nan


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (over 0, up to 1) of all don't exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else nan


_T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""The 97.5 % quantile of Student's t for 1 … 30 degrees of freedom."""


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to three digits. Raises ValueError below one degree of freedom.

    Beyond the table: the first two terms of its expansion around the normal quantile (Abramowitz & Stegun 26.7.5).
    """
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom: an interval needs two values")
    if freedom <= len(_T_975):
        return _T_975[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of `values`, and half the width of its 95 % interval (Student's t); infinite for a single value.

    Raises ValueError for none.
    """
    if not values:
        raise ValueError("no values: there is no mean of none")
    if len(values) == 1:
        return float(values[0]), inf
    half = student_t(len(values) - 1) * statistics.stdev(values) / sqrt(len(values))
    return statistics.fmean(values), half
