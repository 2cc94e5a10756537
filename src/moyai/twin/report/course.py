"""The course of replays over time, on one grid: what a picture draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moyai.model.ids import SiteName
from moyai.model.units import MICROS_PER_HOUR
from moyai.twin.compare.task import Run
from moyai.twin.replay.outcome import Sample

F64 = NDArray[np.float64]
POINTS = 240
"""Points of a line at most: more can't be told apart on a screen."""


@dataclass(frozen=True, slots=True)
class Course:
    """The mean of the runs of one policy at each point of time.

    After the end of a run nothing of it waits or is busy, and its power and its deadlines stay as they were last.
    """

    policy: str
    hours: F64  # (points,)
    queued: F64  # (points,)  jobs
    power_kw: F64  # (points,)  all sites
    hit_pct: F64  # (points,)  deadlines kept, of those that are over; NaN before the first
    busy_pct: dict[SiteName, F64]  # site → (points,)


def courses(runs: Sequence[Run]) -> tuple[Course, ...]:
    """The course of each policy, in the order of `runs`. All must be of one scenario."""
    last_us = max((run.samples[-1].at_us for run in runs if run.samples), default=0)
    edges: F64 = np.linspace(0, max(last_us, 1), POINTS + 1)
    policies = list(dict.fromkeys(run.task.policy for run in runs))
    return tuple(
        _course(policy, [r for r in runs if r.task.policy == policy and r.samples], edges) for policy in policies
    )


def _course(policy: str, runs: Sequence[Run], edges: F64) -> Course:
    sites = sorted({site for run in runs for site in run.sites})
    power = [[sum(a.power_w for a in s.sites) / 1e3 for s in run.samples] for run in runs]
    return Course(
        policy=policy,
        hours=(edges[:-1] + edges[1:]) / 2 / MICROS_PER_HOUR,
        queued=_mean([_binned(run.samples, [s.queued for s in run.samples], edges) for run in runs]),
        power_kw=_mean([_binned(run.samples, w, edges, stays=True) for run, w in zip(runs, power, strict=True)]),
        hit_pct=_mean([_held(run.samples, _kept(run.samples), edges, stays=True) for run in runs]),
        busy_pct={site: _mean([_binned(run.samples, _busy(run, site), edges) for run in runs]) for site in sites},
    )


def _kept(samples: Sequence[Sample]) -> list[float]:
    return [100 * s.met / (s.met + s.missed) if s.met + s.missed else np.nan for s in samples]


def _busy(run: Run, site: SiteName) -> list[float]:
    found: list[float] = []
    for sample in run.samples:
        at = next((a for a in sample.sites if a.site == site), None)
        found.append(100 * at.busy / at.total if at is not None and at.total else np.nan)
    return found


def _binned(samples: Sequence[Sample], values: Sequence[float], edges: F64, *, stays: bool = False) -> F64:
    """The mean of the values in each interval; where it holds no sample, the last one before."""
    at: F64 = np.array([s.at_us for s in samples], dtype=np.float64)
    value: F64 = np.array(values, dtype=np.float64)
    known = ~np.isnan(value)
    sums = np.histogram(at[known], edges, weights=value[known])[0]
    counts = np.histogram(at[known], edges)[0]
    means: F64 = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return np.where(np.isnan(means), _held(samples, values, edges, stays=stays), means)


def _held(samples: Sequence[Sample], values: Sequence[float], edges: F64, *, stays: bool) -> F64:
    """The last value at or before the middle of each interval; NaN before the first sample.

    After the last one it stays, or is 0 (NaN where it was NaN all the time).
    """
    at: F64 = np.array([s.at_us for s in samples], dtype=np.float64)
    value: F64 = np.array(values, dtype=np.float64)
    middle = (edges[:-1] + edges[1:]) / 2
    index = np.searchsorted(at, middle, side="right") - 1
    found: F64 = np.where(index >= 0, value[np.maximum(index, 0)], np.nan)
    return found if stays or np.all(np.isnan(value)) else np.where(edges[:-1] > at[-1], 0.0, found)


def _mean(rows: Sequence[F64]) -> F64:
    """The mean of the rows at each point, without the NaN among them."""
    table: F64 = np.array(rows, dtype=np.float64)
    counts = (~np.isnan(table)).sum(axis=0)
    return np.where(counts > 0, np.nansum(table, axis=0) / np.maximum(counts, 1), np.nan)
