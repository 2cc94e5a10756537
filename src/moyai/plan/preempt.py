"""Attempts to stop so that work of higher priority runs: few, bounded, and only where it gains more than it loses."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from moyai.model.ids import AttemptId
from moyai.model.units import MICROS_PER_HOUR
from moyai.plan.greedy import Draft, greedy, with_deadlines
from moyai.plan.problem import JobClass, Option, Problem, weight_milli
from moyai.plan.timeline import Quote, Timeline
from moyai.plan.types import Busy, Policy, Preemption

MOST_TRIES = 8
"""Classes of jobs of a cycle for which a preemption is looked for."""
MOST_VICTIMS = 16
"""Attempts of one pool that are looked at, the first in order; of these no more are stopped than the budget allows."""

Ends = dict[AttemptId, int]


@dataclass(frozen=True, slots=True)
class _Stop:
    """Attempts whose end would let a job start, and what that loses and gains by the look of that job alone."""

    victims: tuple[Busy, ...]
    lost: int
    gain: int


def with_preemptions(problem: Problem, draft: Draft) -> tuple[Draft, tuple[Preemption, ...], int, Timeline]:
    """(draft, attempts to stop, value lost by it, the empty timeline it was made on).

    A job may stop attempts of lower priority that declared a checkpoint, the lowest priority first and the least
    unsaved work first, within the policy's budget. The plan as a whole must gain by the policy's factor.
    """
    policy = problem.policy
    ends: Ends = {}
    stops: list[Preemption] = []
    lost = 0
    tried: set[int] = set()  # only asked for membership
    for job, cls in problem.queue:
        budget = policy.preemptions_per_cycle - len(stops)
        if budget <= 0 or len(tried) >= MOST_TRIES:
            break
        if id(cls) in tried or not cls.options or cls.earliest > problem.now:
            continue
        issue, value = _now_planned(draft, problem, cls, job.job)
        if issue <= cls.earliest:
            continue
        found = [_stop(problem, cls, option, ends, budget) for option in cls.options]
        useful = [s for s in found if s is not None and s.gain > value]
        if not any(found):
            continue
        tried.add(id(cls))
        best = max(useful, key=lambda s: s.gain - s.lost, default=None)
        if best is None or not _worth(policy, best.gain - value, best.lost):
            continue
        more = ends | {v.attempt: _gone(problem, v) for v in best.victims}
        start = Timeline(problem, more)
        other = with_deadlines(problem, greedy(problem, start.copy(), problem.queue), start)
        if _worth(policy, other.value - draft.value, best.lost):
            draft, ends, lost = other, more, lost + best.lost
            stops.extend(Preemption(v.attempt, job.job) for v in best.victims)
            tried.discard(id(cls))
    return draft, tuple(stops), lost, Timeline(problem, ends)


def _now_planned(draft: Draft, problem: Problem, cls: JobClass, job: str) -> tuple[int, int]:
    """(when a job takes its nodes by the draft, its value there); past the horizon where it has no place."""
    for placed in draft.placed:
        if placed.job.job == job:
            return placed.quote.issue, placed.quote.value
    return problem.last_start + 1, cls.unplaced


def _worth(policy: Policy, gain: int, lost: int) -> bool:
    return gain > 0 and gain * 1_000 >= lost * policy.preempt_gain_milli


def _gone(problem: Problem, busy: Busy) -> int:
    """When an attempt that is asked to stop now will have ended."""
    return min(busy.end, problem.now + busy.grace_us)


def _stop(problem: Problem, cls: JobClass, option: Option, ends: Ends, budget: int) -> _Stop | None:
    """The attempts of one pool to stop for a job, none of them needlessly, with its value then as the gain.

    None where none may be stopped, or that doesn't let it start.
    """
    priority = cls.jobs[0].order.priority
    held = [b for b in problem.snapshot.busy if (b.site, b.flavor) == option.pool]
    victims = sorted(
        (b for b in held if b.preemptible and b.priority < priority and b.attempt not in ends),
        key=lambda b: (b.priority, b.unsaved_us(problem.now), b.attempt),
    )[:MOST_VICTIMS]

    def quote_with(stopped: Sequence[Busy]) -> Quote | None:
        """Its quote once they are gone; None where it doesn't start then."""
        line = Timeline(problem, ends | {b.attempt: _gone(problem, b) for b in stopped})
        quote = line.quote(cls, option)
        soon = max((_gone(problem, v) for v in stopped), default=problem.now)
        return quote if quote is not None and quote.issue <= soon else None

    if not victims or quote_with(victims) is None:
        return None
    count = 1 + bisect_left(range(1, len(victims)), True, key=lambda n: quote_with(victims[:n]) is not None)
    chosen = victims[:count]
    for victim in reversed(chosen[:-1]):
        fewer = [v for v in chosen if v is not victim]
        if quote_with(fewer) is not None:
            chosen = fewer
    quote = quote_with(chosen)
    if quote is None or len(chosen) > budget:
        return None
    return _Stop(tuple(chosen), sum(loss(problem, v, option.run_us) for v in chosen), quote.value)


def loss(problem: Problem, victim: Busy, run_us: int) -> int:
    """What a stop loses in micro-yen: unsaved work, and the wait and lateness while the other runs in its place."""
    policy, unsaved_us = problem.policy, victim.unsaved_us(problem.now)
    weight = len(victim.nodes) * weight_milli(policy, victim.tenant, victim.priority)
    lost = policy.value_micro_yen_per_node_hour * unsaved_us
    lost += policy.wait_micro_yen_per_hour * (run_us + unsaved_us)
    end = victim.end + run_us + unsaved_us
    if victim.deadline is not None and end > victim.deadline:
        lost += policy.late_micro_yen_per_hour * (end - max(victim.end, victim.deadline))
        if victim.end <= victim.deadline:  # its whole value may go, of which what it has left to run is the least
            lost += policy.value_micro_yen_per_node_hour * policy.miss_milli // 1_000 * (victim.end - problem.now)
    return lost * weight // (MICROS_PER_HOUR * 1_000)
