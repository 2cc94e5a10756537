"""How long a job will run: its user's word, else what like jobs took, else what its tenant's took, else a default.

Run times are kept sorted and bounded. A new one always gets in; where its list is full, the one that leaves is drawn
from all by the event's number. So a run is remembered the less the longer ago it was, and a replay draws the same.
Source: biased reservoir sampling; Aggarwal, VLDB 2006.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from moyai.control.state import Job, State
from moyai.model.units import MICROS_PER_SECOND

DEFAULT_RUN_US = 600 * MICROS_PER_SECOND
"""The estimate for a job that says nothing and whose tenant has never run one."""

OVERRUN_MIN_US = 10 * MICROS_PER_SECOND
"""Where no run of the past was longer, an attempt is given a quarter of its age more, and at least this."""

LIKE_RUNS = 8
"""Run times kept for each project and name."""
TENANT_RUNS = 64
"""Run times kept for each tenant."""

QUANTILE_MILLI = 500
"""Which of the run times is the estimate, in thousandths: the median.

Philly, each job by the last runs of its virtual cluster, six times 8,000 jobs through one pool, made-up deadlines: by
the median 90.9 % are kept at a load of .8 and 77.8 % at 1, by the 75th percentile 90.4 and 74.6 %, by the mean 89.3
and 75.5 %. Its typical error is the smallest too: a factor of 2.5, against 2.9 and 3.9.
"""

DIGITS = 2
"""Run times are kept with so many digits that count: one more of them seldom changes what is planned on."""


class Source(StrEnum):
    """Who says how long a job runs."""

    USER = "user"  # it is in the job's order
    HISTORY = "history"  # runs of the same project and name
    TENANT = "tenant"  # runs of the same tenant
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a whole run of a job takes, at most its limit, and who says so."""

    run_us: int
    source: Source


def estimate(state: State, job: Job) -> Estimate:
    """How long a whole run of `job` takes, and who says so."""
    return Estimate(*_said(state, job))


def estimate_us(state: State, job: Job) -> int:
    """How long a whole run of `job` takes. A few look-ups: it is asked for every job that waits, in every cycle."""
    return _said(state, job)[0]


def _said(state: State, job: Job) -> tuple[int, Source]:
    order = job.order
    if order.expect_us:
        run_us, source = order.expect_us, Source.USER
    elif runs := state.history.get(history_key(job)):
        run_us, source = typical_us(runs), Source.HISTORY
    elif runs := state.tenant_history.get(job.tenant):
        run_us, source = typical_us(runs), Source.TENANT
    else:
        run_us, source = DEFAULT_RUN_US, Source.DEFAULT
    return (order.limit_us if 0 < order.limit_us < run_us else run_us), source


def history_key(job: Job) -> str:
    """Where the run times of like jobs are kept: the same project and name."""
    return f"{job.tenant}/{job.project}/{job.order.name}"


def like(state: State, job: Job) -> Sequence[int]:
    """The run times, in order, that say most of `job`: of its like, else of its tenant; empty where there are none."""
    return state.history.get(history_key(job)) or state.tenant_history.get(job.tenant) or ()


def remember(state: State, job: Job, run_us: int, seq: int) -> None:
    """Note a whole run of `job` that succeeded, as the event `seq` tells it."""
    run_us = _rounded(run_us)
    _keep(state.history.setdefault(history_key(job), []), run_us, seq, LIKE_RUNS)
    _keep(state.tenant_history.setdefault(job.tenant, []), run_us, seq, TENANT_RUNS)


def _keep(runs: list[int], run_us: int, seq: int, most: int) -> None:
    while len(runs) >= most:
        del runs[(seq * 2_654_435_761 >> 8) % len(runs)]
    runs.append(run_us)
    runs.sort()


def typical_us(runs: Sequence[int]) -> int:
    """The estimate that sorted run times give; there must be one at least."""
    return runs[len(runs) * QUANTILE_MILLI // 1_000]


def remaining_us(runs: Sequence[int], age_us: int) -> int:
    """How long an attempt goes on that is `age_us` old already: what the sorted `runs` that took longer say.

    Where none took longer, a quarter of its age, and at least OVERRUN_MIN_US.
    """
    longer = bisect_right(runs, age_us)
    if longer == len(runs):
        return max(OVERRUN_MIN_US, age_us // 4)
    return runs[longer + (len(runs) - longer) * QUANTILE_MILLI // 1_000] - age_us


def _rounded(run_us: int) -> int:
    step = 10 ** max(0, len(str(run_us)) - DIGITS)
    return max(1, (run_us + step // 2) // step * step)
