"""`apply(state, indexes, record)`: what each kind of event changes. It never rejects what is logged.

A move that the lifecycle tables lack is a broken invariant, and stops control loudly.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from moyai.control.apply_data import DATA_REDUCERS, remove_replica
from moyai.control.apply_identity import IDENTITY_REDUCERS
from moyai.control.apply_workflows import WORKFLOW_REDUCERS, task_ended, task_submitted
from moyai.control.bill import bill
from moyai.control.bookkeeping import index_data, link_name, post, reported, resolve
from moyai.control.estimates import remember
from moyai.control.state import (
    Attempt,
    BrokenInvariant,
    Indexes,
    Job,
    Site,
    State,
    request_key,
)
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.ids import AttemptId, SiteName, job_of, ordinal_of
from moyai.model.lifecycle import ATTEMPT_MOVES, JOB_MOVES, AttemptState, JobState
from moyai.model.reasons import Code
from moyai.model.units import MICROS_PER_SECOND, Instant, after

AVOID_US = 60_000_000  # how long a job keeps away from a site that failed to start it, or whose own engine preempted it


def apply(state: State, indexes: Indexes, record: Record) -> None:
    """Bring `state` from `record.seq − 1` to `record.seq`. Raises BrokenInvariant."""
    if record.seq != state.seq + 1 or record.prev_hash != state.head_hash:
        raise BrokenInvariant(f"event {record.seq} does not follow event {state.seq}")
    indexes.restless.saw(state, record.body)
    _REDUCERS[type(record.body)](state, indexes, record.body, record)
    state.seq, state.head_hash, state.recorded_at = record.seq, record.hash, record.recorded_at


def _move_attempt(attempt: Attempt | None, event: str, to: AttemptState) -> None:
    before = attempt.state if attempt else None
    if to not in ATTEMPT_MOVES.get((before, event), ()):
        name = attempt.attempt if attempt else "a new attempt"
        raise BrokenInvariant(f"{name}: no move from {before} to {to} by {event}")


def _move_job(job: Job | None, event: str, to: JobState) -> None:
    before = job.state if job else None
    if to not in JOB_MOVES.get((before, event), ()):
        raise BrokenInvariant(f"{job.job if job else 'a new job'}: no move from {before} to {to} by {event}")


def _set_site(state: State, site: SiteName, **changes: Any) -> None:
    held = state.sites[site]
    held.profile = replace(held.profile, **changes)


def _control_started(state: State, _: Indexes, body: e.ControlStarted, __: Record) -> None:
    state.epoch = body.epoch


def _site_declared(state: State, _: Indexes, body: e.SiteDeclared, __: Record) -> None:
    if body.profile.name in state.sites:
        state.sites[body.profile.name].profile = body.profile
    else:
        state.sites[body.profile.name] = Site(body.profile)


def _link_declared(state: State, _: Indexes, body: e.LinkDeclared, __: Record) -> None:
    state.links[link_name(body.link.a, body.link.b)] = body.link


def _signal_changed(state: State, _: Indexes, body: e.SignalChanged, __: Record) -> None:
    match body.signal:
        case e.Signal.PRICE:
            _set_site(state, body.site, price_micro_yen_per_kwh=body.value)
        case e.Signal.CARBON:
            _set_site(state, body.site, carbon_mg_per_kwh=body.value)
        case e.Signal.POWER_CAP:
            _set_site(state, body.site, power_cap_w=body.value)


def _site_drain_changed(state: State, _: Indexes, body: e.SiteDrainChanged, __: Record) -> None:
    state.sites[body.site].draining = body.draining


def _site_joined(state: State, _: Indexes, body: e.SiteJoined, __: Record) -> None:
    site = state.sites[body.site]
    if body.incarnation != site.incarnation:
        # A new journal holds nothing: no replica, and no launch of an earlier one may reach it.
        for manifest in sorted(state.manifests):
            remove_replica(state, manifest, body.site)
        box = state.outbox.get(body.site, {})
        for ref in [ref for ref in box if ref.startswith(("launch ", "drop "))]:
            del box[ref]
        site.reports_through = 0
    site.incarnation, site.term, site.lost = body.incarnation, body.term, False
    site.capabilities = body.capabilities


def _capacity_reported(state: State, _: Indexes, body: e.CapacityReported, record: Record) -> None:
    _set_site(state, body.site, flavors=body.flavors)
    reported(state, body.site, record)


def _site_lost(state: State, _: Indexes, body: e.SiteLost, __: Record) -> None:
    state.sites[body.site].lost = True


def _job_submitted(state: State, indexes: Indexes, body: e.JobSubmitted, record: Record) -> None:
    _move_job(state.jobs.get(body.job), "JobSubmitted", JobState.PENDING)
    job = Job(
        job=body.job,
        tenant=record.tenant,
        project=record.project,
        actor=record.actor,
        request=record.request,
        order=body.order,
        text=body.text,
        submitted_at=record.recorded_at,
        submitted_seq=record.seq,
    )
    state.jobs[body.job] = job
    state.requests[request_key(record.tenant, record.project, record.request)] = body.job
    if not task_submitted(indexes, job):
        indexes.pending[body.job] = None
    index_data(indexes, job)


def _job_cancel_requested(state: State, _: Indexes, body: e.JobCancelRequested, __: Record) -> None:
    job = state.jobs[body.job]
    _move_job(job, "JobCancelRequested", JobState.CANCELLING)
    job.state = JobState.CANCELLING


def _attempt_issued(state: State, indexes: Indexes, body: e.AttemptIssued, record: Record) -> None:
    job = state.jobs[job_of(body.attempt)]
    ordinal = ordinal_of(body.attempt)
    _move_attempt(state.attempts.get(body.attempt), "AttemptIssued", AttemptState.ISSUED)
    _move_job(job, "AttemptIssued", JobState.ACTIVE)
    if ordinal != job.attempts + 1:
        raise BrokenInvariant(f"{body.attempt}: the fence stands at {job.attempts}")
    state.attempts[body.attempt] = Attempt(
        attempt=body.attempt,
        job=job.job,
        ordinal=ordinal,
        term=body.term,
        placement=body.placement,
        issued_at=record.recorded_at,
        restore=body.restore,
        covered_us=body.covered_us,
    )
    job.state, job.attempts = JobState.ACTIVE, ordinal
    indexes.pending.pop(job.job, None)
    indexes.live[body.attempt] = None
    indexes.usage.take(body.placement, job.order.need)
    index_data(indexes, job)
    post(state, body.placement.site, record.seq, f"launch {body.attempt}")


def _attempt_started(state: State, _: Indexes, body: e.AttemptStarted, record: Record) -> None:
    attempt = state.attempts[body.attempt]
    to = AttemptState.STOPPING if attempt.state is AttemptState.STOPPING else AttemptState.RUNNING
    _move_attempt(attempt, "AttemptStarted", to)
    attempt.state, attempt.started_at = to, record.recorded_at
    state.jobs[attempt.job].setbacks = 0
    resolve(state, attempt.site, f"launch {body.attempt}")
    reported(state, attempt.site, record)


def _attempt_stop_requested(state: State, _: Indexes, body: e.AttemptStopRequested, record: Record) -> None:
    attempt = state.attempts[body.attempt]
    _move_attempt(attempt, "AttemptStopRequested", AttemptState.STOPPING)
    attempt.state, attempt.stop, attempt.stop_at = AttemptState.STOPPING, body.reason, record.recorded_at
    # An agent that has the launch has it; one that hasn't must never see it after this.
    resolve(state, attempt.site, f"launch {body.attempt}")
    post(state, attempt.site, record.seq, f"stop {body.attempt}")


def _release(state: State, indexes: Indexes, attempt: Attempt) -> None:
    if attempt.attempt in indexes.live:
        del indexes.live[attempt.attempt]
        indexes.usage.take(attempt.placement, state.jobs[attempt.job].order.need, sign=-1)
    resolve(state, attempt.site, f"launch {attempt.attempt}", f"stop {attempt.attempt}")


_OUTCOMES = {
    e.Outcome.SUCCEEDED: AttemptState.SUCCEEDED,
    e.Outcome.FAILED: AttemptState.FAILED,
    e.Outcome.STOPPED: AttemptState.STOPPED,
}


def _attempt_ended(state: State, indexes: Indexes, body: e.AttemptEnded, record: Record) -> None:
    attempt = state.attempts[body.attempt]
    to = _OUTCOMES[body.outcome]
    _move_attempt(attempt, "AttemptEnded", to)
    attempt.state, attempt.reason, attempt.ended_at = to, body.reason, record.recorded_at
    attempt.run_us, attempt.cpu_us, attempt.output_bytes = body.run_us, body.cpu_us, body.output_bytes
    _charge(state, attempt, body.energy_j, body.energy_modelled)
    _release(state, indexes, attempt)
    reported(state, attempt.site, record)
    if to is AttemptState.SUCCEEDED:
        remember(state, state.jobs[attempt.job], attempt.covered_us + body.run_us, record.seq)


def _charge(state: State, attempt: Attempt, energy_j: int, modelled: bool) -> None:
    attempt.energy_j, attempt.energy_modelled = energy_j, modelled
    profile = state.sites[attempt.site].profile
    charged = bill(profile, attempt.placement, attempt.run_us, energy_j)
    attempt.cost_micro_yen, attempt.carbon_mg = charged.cost_micro_yen, charged.carbon_mg


def _attempt_lost(state: State, indexes: Indexes, body: e.AttemptLost, record: Record) -> None:
    attempt = state.attempts[body.attempt]
    _move_attempt(attempt, "AttemptLost", AttemptState.LOST)
    if attempt.started_at:  # what it used until now at most, since nobody can say how long it ran
        attempt.run_us = max(0, record.recorded_at - attempt.started_at)
        _charge(state, attempt, attempt.placement.power_w * attempt.run_us // MICROS_PER_SECOND, modelled=True)
    attempt.state, attempt.reason, attempt.ended_at = AttemptState.LOST, body.reason, record.recorded_at
    _release(state, indexes, attempt)


def _job_requeued(state: State, indexes: Indexes, body: e.JobRequeued, record: Record) -> None:
    job = state.jobs[body.job]
    _move_job(job, "JobRequeued", JobState.PENDING)
    job.state, job.not_before, job.reason = JobState.PENDING, body.not_before, body.reason
    if body.own_failure:
        job.own_failures += 1
    else:
        job.setbacks += 1
    newest = state.attempts[job.newest] if job.newest else None
    if newest and (_never_began(newest) or _preempted_there(newest)):
        job.avoid[newest.site] = after(record.recorded_at, AVOID_US)
    indexes.pending[body.job] = None
    index_data(indexes, job)


def _never_began(attempt: Attempt) -> bool:
    return not attempt.started_at and attempt.state is AttemptState.FAILED


def _preempted_there(attempt: Attempt) -> bool:
    """By the site's own engine: control did not ask for it."""
    return attempt.stop is None and attempt.reason is not None and attempt.reason.code is Code.PREEMPTED


def _job_ended(state: State, indexes: Indexes, body: e.JobEnded, record: Record) -> None:
    job = state.jobs[body.job]
    _move_job(job, "JobEnded", body.state)
    job.state, job.reason, job.ended_at = body.state, body.reason, record.recorded_at
    job.avoid.clear()
    indexes.pending.pop(body.job, None)
    indexes.ended[body.state] = indexes.ended.get(body.state, 0) + 1
    index_data(indexes, job)
    task_ended(state, indexes, job)


def _report_refused(state: State, _: Indexes, body: e.ReportRefused, record: Record) -> None:
    reported(state, body.site, record)


_REDUCERS: dict[type[e.EventBody], Callable[[State, Indexes, Any, Record], None]] = {
    e.ControlStarted: _control_started,
    e.SiteDeclared: _site_declared,
    e.LinkDeclared: _link_declared,
    e.SignalChanged: _signal_changed,
    e.SiteDrainChanged: _site_drain_changed,
    e.SiteJoined: _site_joined,
    e.CapacityReported: _capacity_reported,
    e.SiteLost: _site_lost,
    e.JobSubmitted: _job_submitted,
    e.JobCancelRequested: _job_cancel_requested,
    e.AttemptIssued: _attempt_issued,
    e.AttemptStarted: _attempt_started,
    e.AttemptStopRequested: _attempt_stop_requested,
    e.AttemptEnded: _attempt_ended,
    e.AttemptLost: _attempt_lost,
    e.JobRequeued: _job_requeued,
    e.JobEnded: _job_ended,
    e.ReportRefused: _report_refused,
    **DATA_REDUCERS,
    **WORKFLOW_REDUCERS,
    **IDENTITY_REDUCERS,
}


def live_at(state: State, indexes: Indexes, site: SiteName) -> list[AttemptId]:
    """The live attempts of a site, by id."""
    return sorted(a for a in indexes.live if state.attempts[a].site == site)


def now_of(state: State, now: Instant) -> Instant:
    """The time to record at: control's clock, but never earlier than the last record."""
    return max(now, state.recorded_at)
