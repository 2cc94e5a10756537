"""`apply(state, indexes, record)`: what each kind of event changes. It never rejects what is logged.

A move that the lifecycle tables lack is a broken invariant, and stops control loudly.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from moyai.control.bill import bill
from moyai.control.state import (
    Attempt,
    BrokenInvariant,
    Checkpoint,
    CommandRef,
    Dataset,
    Indexes,
    Job,
    Replicas,
    Site,
    State,
    Transfer,
    dataset_key,
    keeps_data,
    request_key,
)
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.ids import AttemptId, JobId, ManifestId, SiteName, job_of, ordinal_of
from moyai.model.lifecycle import ATTEMPT_LIVE, ATTEMPT_MOVES, JOB_ENDED, JOB_MOVES, AttemptState, JobState
from moyai.model.site import Link, link_key
from moyai.model.units import MICROS_PER_SECOND, Instant, after

HISTORY_LENGTH = 8  # run times kept for each project and name
AVOID_US = 60_000_000  # how long a job keeps away from a site that failed to start it


def apply(state: State, indexes: Indexes, record: Record) -> None:
    """Bring `state` from `record.seq − 1` to `record.seq`. Raises BrokenInvariant."""
    if record.seq != state.seq + 1 or record.prev_hash != state.head_hash:
        raise BrokenInvariant(f"event {record.seq} does not follow event {state.seq}")
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


def link_name(a: SiteName, b: SiteName) -> str:
    """The key of a link in the state."""
    return "|".join(link_key(a, b))


def link_between(state: State, a: SiteName, b: SiteName) -> Link | None:
    """The link between two sites, or None."""
    return state.links.get(link_name(a, b))


def _post(state: State, site: SiteName, number: int, ref: CommandRef) -> None:
    state.outbox.setdefault(site, {})[ref] = number


def _resolve(state: State, site: SiteName, *refs: CommandRef) -> None:
    box = state.outbox.get(site, {})
    for ref in refs:
        box.pop(ref, None)


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
            _remove_replica(state, manifest, body.site)
        box = state.outbox.get(body.site, {})
        for ref in [ref for ref in box if ref.startswith(("launch ", "drop "))]:
            del box[ref]
        site.reports_through = 0
    site.incarnation, site.term, site.lost = body.incarnation, body.term, False
    site.capabilities = body.capabilities


def _capacity_reported(state: State, _: Indexes, body: e.CapacityReported, record: Record) -> None:
    _set_site(state, body.site, flavors=body.flavors)
    _reported(state, body.site, record)


def _site_lost(state: State, _: Indexes, body: e.SiteLost, __: Record) -> None:
    state.sites[body.site].lost = True


def _reported(state: State, site: SiteName, record: Record) -> None:
    """Note the number of a report, which stands at the end of its record's request."""
    incarnation, _, number = record.request.rpartition("/")
    if incarnation == f"{site}/{state.sites[site].incarnation}":
        state.sites[site].reports_through = int(number)


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
    indexes.pending[body.job] = None
    _index_data(indexes, job)


def _index_data(indexes: Indexes, job: Job) -> None:
    if keeps_data(job):
        indexes.data_jobs[job.job] = None
    else:
        indexes.data_jobs.pop(job.job, None)


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
    _post(state, body.placement.site, record.seq, f"launch {body.attempt}")


def _attempt_started(state: State, _: Indexes, body: e.AttemptStarted, record: Record) -> None:
    attempt = state.attempts[body.attempt]
    to = AttemptState.STOPPING if attempt.state is AttemptState.STOPPING else AttemptState.RUNNING
    _move_attempt(attempt, "AttemptStarted", to)
    attempt.state, attempt.started_at = to, record.recorded_at
    state.jobs[attempt.job].setbacks = 0
    _resolve(state, attempt.site, f"launch {body.attempt}")
    _reported(state, attempt.site, record)


def _attempt_stop_requested(state: State, _: Indexes, body: e.AttemptStopRequested, record: Record) -> None:
    attempt = state.attempts[body.attempt]
    _move_attempt(attempt, "AttemptStopRequested", AttemptState.STOPPING)
    attempt.state, attempt.stop, attempt.stop_at = AttemptState.STOPPING, body.reason, record.recorded_at
    # An agent that has the launch has it; one that hasn't must never see it after this.
    _resolve(state, attempt.site, f"launch {body.attempt}")
    _post(state, attempt.site, record.seq, f"stop {body.attempt}")


def _release(state: State, indexes: Indexes, attempt: Attempt) -> None:
    if attempt.attempt in indexes.live:
        del indexes.live[attempt.attempt]
        indexes.usage.take(attempt.placement, state.jobs[attempt.job].order.need, sign=-1)
    _resolve(state, attempt.site, f"launch {attempt.attempt}", f"stop {attempt.attempt}")


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
    _reported(state, attempt.site, record)
    if to is AttemptState.SUCCEEDED and not attempt.covered_us:
        job = state.jobs[attempt.job]
        runs = state.history.setdefault(history_key(job), [])
        runs.append(body.run_us)
        del runs[:-HISTORY_LENGTH]


def history_key(job: Job) -> str:
    """Where the run times of like jobs are kept: the same project and name."""
    return f"{job.tenant}/{job.project}/{job.order.name}"


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
    if newest and not newest.started_at and newest.state is AttemptState.FAILED:
        job.avoid[newest.site] = after(record.recorded_at, AVOID_US)
    indexes.pending[body.job] = None


def _job_ended(state: State, indexes: Indexes, body: e.JobEnded, record: Record) -> None:
    job = state.jobs[body.job]
    _move_job(job, "JobEnded", body.state)
    job.state, job.reason, job.ended_at = body.state, body.reason, record.recorded_at
    job.avoid.clear()
    indexes.pending.pop(body.job, None)
    _index_data(indexes, job)


def _dataset_registered(state: State, _: Indexes, body: e.DatasetRegistered, record: Record) -> None:
    key = dataset_key(body.profile.name, body.profile.version)
    state.datasets[key] = Dataset(body.profile, record.tenant, body.site, body.text)
    state.requests[request_key(record.tenant, record.project, record.request)] = JobId(key)
    _post(state, body.site, record.seq, f"adopt {key}")


def _dataset_adopted(state: State, _: Indexes, body: e.DatasetAdopted, record: Record) -> None:
    key = dataset_key(body.dataset, body.version)
    state.datasets[key].manifest = body.manifest
    _add_replica(state, body.manifest, body.site, body.size_bytes)
    _resolve(state, body.site, f"adopt {key}")
    _reported(state, body.site, record)


def _dataset_rejected(state: State, _: Indexes, body: e.DatasetRejected, record: Record) -> None:
    key = dataset_key(body.dataset, body.version)
    state.datasets[key].problem = body.detail
    _resolve(state, body.site, f"adopt {key}")
    _reported(state, body.site, record)


def _add_replica(state: State, manifest: ManifestId, site: SiteName, size_bytes: int) -> None:
    held = state.manifests.setdefault(manifest, Replicas(size_bytes))
    if site not in held.sites:
        held.sites = sorted([*held.sites, site])
    if site in held.dropping:
        held.dropping.remove(site)


def _remove_replica(state: State, manifest: ManifestId, site: SiteName) -> None:
    held = state.manifests.get(manifest)
    if held is None:
        return
    if site in held.sites:
        held.sites.remove(site)
    if site in held.dropping:
        held.dropping.remove(site)


def _checkpoint_completed(state: State, indexes: Indexes, body: e.CheckpointCompleted, record: Record) -> None:
    attempt = state.attempts[body.attempt]
    job = state.jobs[attempt.job]
    _add_replica(state, body.manifest, attempt.site, body.size_bytes)
    if all(c.manifest != body.manifest for c in job.checkpoints):
        job.checkpoints.append(Checkpoint(body.manifest, body.name, body.attempt, body.size_bytes, body.covered_us))
        job.checkpoints.sort(key=lambda c: c.covered_us)
    _index_data(indexes, job)
    _reported(state, attempt.site, record)


def _transfer_issued(state: State, _: Indexes, body: e.TransferIssued, record: Record) -> None:
    state.transfers[body.transfer] = Transfer(
        body.transfer,
        body.manifest,
        body.source,
        body.target,
        body.size_bytes,
        body.bytes_per_second,
        body.latency_us,
        body.job,
    )
    tries = f"{body.manifest}>{body.target}"
    state.transfer_tries[tries] = state.transfer_tries.get(tries, 0) + 1
    _post(state, body.target, record.seq, f"fetch {body.transfer}")


def _transfer_ended(state: State, _: Indexes, body: e.TransferEnded, record: Record) -> None:
    transfer = state.transfers.pop(body.transfer)
    if body.stored:
        _add_replica(state, transfer.manifest, transfer.target, transfer.size_bytes)
        state.transfer_tries.pop(f"{transfer.manifest}>{transfer.target}", None)
    if transfer.job is not None:
        job = state.jobs[transfer.job]
        newest = state.attempts[job.newest] if job.newest else None
        if newest and not body.stored and newest.site == transfer.target:
            newest.failed_fetches += 1
        job.moved_bytes += body.moved_bytes
        link = link_between(state, transfer.source, transfer.target)
        job.egress_micro_yen += link.egress_micro_yen(body.moved_bytes) if link else 0
    _resolve(state, transfer.target, f"fetch {body.transfer}")
    _reported(state, transfer.target, record)


def _replica_drop_requested(state: State, indexes: Indexes, body: e.ReplicaDropRequested, record: Record) -> None:
    held = state.manifests[body.manifest]
    held.dropping = sorted({*held.dropping, body.site})
    _post(state, body.site, record.seq, f"drop {body.manifest}")


def _replica_dropped(state: State, indexes: Indexes, body: e.ReplicaDropped, record: Record) -> None:
    _remove_replica(state, body.manifest, body.site)
    _resolve(state, body.site, f"drop {body.manifest}")
    _reported(state, body.site, record)
    forget_unheld(state, indexes, body.manifest)


def forget_unheld(state: State, indexes: Indexes, manifest: ManifestId) -> None:
    """Forget a checkpoint that no site holds any more, and with it its manifest."""
    held = state.manifests.get(manifest)
    if held is None or held.sites:
        return
    for job_id in list(indexes.data_jobs):
        job = state.jobs[job_id]
        if any(c.manifest == manifest for c in job.checkpoints):
            job.checkpoints = [c for c in job.checkpoints if c.manifest != manifest]
            _index_data(indexes, job)
    if all(d.manifest != manifest for d in state.datasets.values()):
        del state.manifests[manifest]


def _report_refused(state: State, _: Indexes, body: e.ReportRefused, record: Record) -> None:
    _reported(state, body.site, record)


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
    e.DatasetRegistered: _dataset_registered,
    e.DatasetAdopted: _dataset_adopted,
    e.DatasetRejected: _dataset_rejected,
    e.CheckpointCompleted: _checkpoint_completed,
    e.TransferIssued: _transfer_issued,
    e.TransferEnded: _transfer_ended,
    e.ReplicaDropRequested: _replica_drop_requested,
    e.ReplicaDropped: _replica_dropped,
    e.ReportRefused: _report_refused,
}


def is_ended(state: State, job: JobId) -> bool:
    """Whether the job is over."""
    return state.jobs[job].state in JOB_ENDED


def live_at(state: State, indexes: Indexes, site: SiteName) -> list[AttemptId]:
    """The live attempts of a site, by id."""
    return sorted(a for a in indexes.live if state.attempts[a].site == site)


def now_of(state: State, now: Instant) -> Instant:
    """The time to record at: control's clock, but never earlier than the last record."""
    return max(now, state.recorded_at)


__all__ = [
    "ATTEMPT_LIVE",
    "apply",
    "forget_unheld",
    "history_key",
    "is_ended",
    "link_between",
    "link_name",
    "live_at",
    "now_of",
]
