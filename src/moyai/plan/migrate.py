"""Attempts to move to a cheaper site while they run: few, by a slow path, and only where nobody waits for the nodes.

A move costs what no safe checkpoint covers, which runs again, the copy of the checkpoint, and the time of it all. Both
sides are told in the same value: what staying is worth from now on, and what a start elsewhere is worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from moyai.facility.power import attempt_power_w
from moyai.model.ids import AttemptId, JobId, SiteName
from moyai.model.units import Instant
from moyai.plan.problem import JobClass, Problem, build, run_cost
from moyai.plan.timeline import Timeline
from moyai.plan.types import Busy, Policy, QueuedJob, Snapshot


@dataclass(frozen=True, slots=True)
class Migration:
    """An attempt to stop because its job is cheaper elsewhere, checkpoint and all."""

    attempt: AttemptId
    target: SiteName
    gain_micro_yen: int


def migrations(snapshot: Snapshot, running: Sequence[QueuedJob], now: Instant, policy: Policy) -> tuple[Migration, ...]:
    """What to move, the largest gain first, within the policy's budget.

    `running` are the jobs of attempts in `snapshot.busy` that may be moved, each as if it waited now: with the
    checkpoints that it could resume from. A move must gain the policy's share of what the rest of the run costs here.
    Each move is judged beside those before it.
    """
    found: list[Migration] = []
    held = {busy.job: busy for busy in snapshot.busy if busy.preemptible}
    for best in sorted(
        (m for job in running if (m := _best(snapshot, held, job, now, policy)) is not None), key=_largest
    ):
        if len(found) >= policy.migrations_per_round:
            break
        if all(best.target != other.target for other in found):  # the next round sees what is left there
            found.append(best)
    return tuple(found)


def _largest(migration: Migration) -> tuple[int, AttemptId]:
    return -migration.gain_micro_yen, migration.attempt


def _best(
    snapshot: Snapshot, held: dict[JobId, Busy], job: QueuedJob, now: Instant, policy: Policy
) -> Migration | None:
    busy = held.get(job.job)
    if busy is None or busy.end <= now:
        return None
    # Its whole run as is believed now, for here and for elsewhere alike: what is saved, what isn't, and what is left.
    saved_us = max((covered for _, covered in job.resumes), default=0)
    whole_us = saved_us + busy.unsaved_us(now) + busy.end - now
    problem = build(snapshot, (replace(job, run_us=whole_us),), now, policy)
    cls, line = problem.classes[0], Timeline(problem)
    here = _staying(problem, cls, busy)
    if here is None:
        return None
    cost, stay = here
    # Its own nodes come free after its grace, and so does it.
    gone = min(busy.end, now + busy.grace_us)
    best: Migration | None = None
    for option in cls.options:
        if option.site == busy.site:
            continue
        quote = line.quote(cls, option, since=gone)
        if quote is None or quote.issue > gone:
            continue
        gain = quote.value - stay
        if gain * 1_000 >= cost * policy.migrate_gain_milli and (best is None or gain > best.gain_micro_yen):
            best = Migration(busy.attempt, option.site, gain)
    return best if best is not None and best.gain_micro_yen > 0 else None


def _staying(problem: Problem, cls: JobClass, busy: Busy) -> tuple[int, int] | None:
    """(cost of the rest of the run, value of it) in micro-yen, where it is; None where its site is no option at all."""
    view = next((s for s in problem.sites if s.profile.name == busy.site), None)
    flavor = view.profile.flavor(busy.flavor) if view is not None else None
    if view is None or flavor is None:
        return None
    left_us = busy.end - problem.now
    power_w = attempt_power_w(busy.need, len(busy.nodes), flavor, view.profile.pue_milli)
    _, cost = run_cost(view.profile, flavor, len(busy.nodes), power_w=power_w, run_us=left_us, policy=problem.policy)
    like = next((o for o in cls.options), None)
    if like is None:
        return None
    return cost, cls.value(replace(like, run_micro_yen=cost), busy.end, 0)
