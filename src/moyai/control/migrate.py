"""Running jobs that would be cheaper elsewhere, by a slow path. Pure.

Only attempts that a checkpoint can carry, that have run for a while, and only where no job waits: whoever waits has
the better claim to free nodes. The stopped job goes back to the queue, and the next plan places it.
"""

from moyai.control.snapshot import queued, snapshot
from moyai.control.state import Attempt, Indexes, State
from moyai.control.upkeep import is_safe
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.ids import attempt_id, ordinal_of
from moyai.model.lifecycle import AttemptState
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant
from moyai.plan.migrate import migrations
from moyai.plan.types import Policy

EVERY_US = 10 * 60 * 1_000_000
AGAIN = 4
"""So many times longer than before a job runs before it is moved once more: it never goes to and fro."""
LOOKED_AT = 200
"""Attempts that one round looks at, those that run longest first."""


def _moves(state: State, attempt: Attempt) -> int:
    """How often the job of an attempt was moved before."""
    before = (state.attempts.get(attempt_id(attempt.job, n)) for n in range(1, ordinal_of(attempt.attempt)))
    return sum(a is not None and a.stop is not None and a.stop.code is Code.MIGRATED for a in before)


def migrate(state: State, indexes: Indexes, now: Instant, policy: Policy) -> tuple[Draft, ...]:
    """Stops, within the policy's budget. Leaves the state as it was."""
    if indexes.pending or policy.migrations_per_round <= 0:
        return ()
    settled = [
        attempt
        for name in sorted(indexes.live)
        if (attempt := state.attempts[name]).state is AttemptState.RUNNING
        and attempt.started_at + policy.migrate_after_us * AGAIN ** _moves(state, attempt) <= now
        and any(is_safe(state, checkpoint) for checkpoint in state.jobs[attempt.job].checkpoints)
    ]
    settled.sort(key=lambda a: (a.started_at, a.attempt))
    if not settled:
        return ()
    view, _ = snapshot(state, indexes, now)
    running = [queued(state, state.jobs[attempt.job], now) for attempt in settled[:LOOKED_AT]]
    drafts: list[Draft] = []
    for move in migrations(view, running, now, policy):
        job = state.jobs[state.attempts[move.attempt].job]
        reason = Reason(Code.MIGRATED, subject=move.target, found=move.gain_micro_yen)
        drafts.append(Draft(e.AttemptStopRequested(move.attempt, reason), Origin.DECIDED, job.tenant, job.project))
    return tuple(drafts)
