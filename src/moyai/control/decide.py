"""`decide(state, indexes, now, plan)`: what control does by itself. A plan is advice: each part is checked again."""

from dataclasses import dataclass

from moyai.control.outcome import waits_until
from moyai.control.residency import allowed, rules
from moyai.control.state import Indexes, Job, State
from moyai.control.upkeep import holders, inputs_of, nearest, upkeep
from moyai.control.workflows import follow
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.ids import attempt_id
from moyai.model.lifecycle import AttemptState, JobState
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant
from moyai.plan.types import Plan, Planned, Preemption


@dataclass(frozen=True, slots=True)
class Decision:
    """Events to append, and the parts of the plan that no longer hold, each with its reason."""

    drafts: tuple[Draft, ...] = ()
    dropped: tuple[Reason, ...] = ()


def decide(state: State, indexes: Indexes, now: Instant, plan: Plan | None = None) -> Decision:
    """The events that follow from the state alone, or from a plan made on an earlier one. Leaves both as they were."""
    if plan is None:
        return Decision((*follow(state, indexes), *upkeep(state, indexes)))
    drafts: list[Draft] = []
    dropped: list[Reason] = []
    issued: list[tuple[e.Placement, Job]] = []
    try:
        for planned in plan.placements:
            if planned.issue_at > now:
                continue
            job = state.jobs.get(planned.job)
            problem = _stale(state, indexes, planned, now)
            if problem or job is None:
                dropped.append(Reason(Code.STALE, subject=planned.job, detail=problem))
                continue
            indexes.usage.take(planned.placement, job.order.need)
            issued.append((planned.placement, job))
            drafts.append(_issue(state, job, planned))
    finally:
        for placement, job in issued:
            indexes.usage.take(placement, job.order.need, sign=-1)
    for preemption in plan.preemptions:
        draft = _preempt(state, preemption)
        if draft is None:
            dropped.append(Reason(Code.STALE, subject=preemption.attempt, detail="it can't be preempted any more"))
        else:
            drafts.append(draft)
    return Decision(tuple(drafts), tuple(dropped))


def _issue(state: State, job: Job, planned: Planned) -> Draft:
    body = e.AttemptIssued(
        attempt=attempt_id(job.job, job.attempts + 1),
        placement=planned.placement,
        term=state.sites[planned.placement.site].term,
        restore=planned.restore,
        covered_us=planned.covered_us,
    )
    return Draft(body, Origin.DECIDED, job.tenant, job.project)


def _stale(state: State, indexes: Indexes, planned: Planned, now: Instant) -> str:
    """What has changed under a placement since it was planned; "" where it still holds."""
    job = state.jobs.get(planned.job)
    if job is None or job.state is not JobState.PENDING:
        return "it no longer waits"
    if waits_until(job, now):
        return "it is not due yet"
    site = state.sites.get(planned.placement.site)
    if site is None or not site.reachable or site.draining:
        return f"{planned.placement.site} takes no work"
    if len(planned.placement.nodes) != job.order.nodes:
        return "its gang is not whole"
    if not allowed(site.profile, rules(state, job)):
        return f"{planned.placement.site} is outside its residency"
    if not set(job.order.capabilities) <= set(site.capabilities):
        return f"{planned.placement.site} lacks what it asks of an engine"
    if not indexes.usage.fits(site.profile, planned.placement, job.order.need):
        return f"{planned.placement.site} has no room for it"
    if planned.restore is not None and all(c.manifest != planned.restore for c in job.checkpoints):
        return "its checkpoint is gone"
    return _data_gone(state, job, planned)


def _data_gone(state: State, job: Job, planned: Planned) -> str:
    needed = inputs_of(state, job, planned.restore)
    if len(needed) != len(job.order.data) + (planned.restore is not None):
        return "a dataset is not there yet"
    for manifest in needed:
        held = state.manifests.get(manifest)
        here = planned.placement.site in holders(state, manifest)
        if held is None or (not here and nearest(state, manifest, held.size_bytes, planned.placement.site) is None):
            return f"{manifest[:12]}… can't come to {planned.placement.site}"
    return ""


def _preempt(state: State, preemption: Preemption) -> Draft | None:
    attempt = state.attempts.get(preemption.attempt)
    if attempt is None or attempt.state is not AttemptState.RUNNING:
        return None
    job = state.jobs[attempt.job]
    gains = state.jobs.get(preemption.gains)
    if job.order.checkpoint is None or gains is None or gains.state is not JobState.PENDING:
        return None
    body = e.AttemptStopRequested(attempt.attempt, Reason(Code.PREEMPTED, subject=preemption.gains))
    return Draft(body, Origin.DECIDED, job.tenant, job.project)
