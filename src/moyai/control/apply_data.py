"""What events about data change: datasets, checkpoints, transfers, and who holds a copy."""

from collections.abc import Callable
from typing import Any

from moyai.control.bookkeeping import index_data, link_between, post, reported, resolve
from moyai.control.state import Checkpoint, Dataset, Indexes, Replicas, State, Transfer, dataset_key, request_key
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.ids import JobId, ManifestId, SiteName


def _dataset_registered(state: State, _: Indexes, body: e.DatasetRegistered, record: Record) -> None:
    key = dataset_key(body.profile.name, body.profile.version)
    state.datasets[key] = Dataset(body.profile, record.tenant, body.site, body.text)
    state.requests[request_key(record.tenant, record.project, record.request)] = JobId(key)
    post(state, body.site, record.seq, f"adopt {key}")


def _dataset_adopted(state: State, indexes: Indexes, body: e.DatasetAdopted, record: Record) -> None:
    key = dataset_key(body.dataset, body.version)
    state.datasets[key].manifest = body.manifest
    indexes.flows.use(body.manifest)
    add_replica(state, body.manifest, body.site, body.size_bytes)
    resolve(state, body.site, f"adopt {key}")
    reported(state, body.site, record)


def _dataset_rejected(state: State, _: Indexes, body: e.DatasetRejected, record: Record) -> None:
    key = dataset_key(body.dataset, body.version)
    state.datasets[key].problem = body.detail
    resolve(state, body.site, f"adopt {key}")
    reported(state, body.site, record)


def add_replica(state: State, manifest: ManifestId, site: SiteName, size_bytes: int) -> None:
    """A site holds a manifest from now on."""
    held = state.manifests.setdefault(manifest, Replicas(size_bytes))
    if site not in held.sites:
        held.sites = sorted([*held.sites, site])
    if site in held.dropping:
        held.dropping.remove(site)


def remove_replica(state: State, manifest: ManifestId, site: SiteName) -> None:
    """A site no longer holds a manifest."""
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
    add_replica(state, body.manifest, attempt.site, body.size_bytes)
    if all(c.manifest != body.manifest for c in job.checkpoints):
        job.checkpoints.append(Checkpoint(body.manifest, body.name, body.attempt, body.size_bytes, body.covered_us))
        job.checkpoints.sort(key=lambda c: c.covered_us)
    index_data(indexes, job)
    reported(state, attempt.site, record)


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
    post(state, body.target, record.seq, f"fetch {body.transfer}")


def _transfer_ended(state: State, _: Indexes, body: e.TransferEnded, record: Record) -> None:
    transfer = state.transfers.pop(body.transfer)
    if body.stored:
        add_replica(state, transfer.manifest, transfer.target, transfer.size_bytes)
        state.transfer_tries.pop(f"{transfer.manifest}>{transfer.target}", None)
    if transfer.job is not None:
        job = state.jobs[transfer.job]
        newest = state.attempts[job.newest] if job.newest else None
        if newest and not body.stored and newest.site == transfer.target:
            newest.failed_fetches += 1
        job.moved_bytes += body.moved_bytes
        link = link_between(state, transfer.source, transfer.target)
        job.egress_micro_yen += link.egress_micro_yen(body.moved_bytes) if link else 0
    resolve(state, transfer.target, f"fetch {body.transfer}")
    reported(state, transfer.target, record)


def _replica_drop_requested(state: State, indexes: Indexes, body: e.ReplicaDropRequested, record: Record) -> None:
    held = state.manifests[body.manifest]
    held.dropping = sorted({*held.dropping, body.site})
    post(state, body.site, record.seq, f"drop {body.manifest}")


def _replica_dropped(state: State, indexes: Indexes, body: e.ReplicaDropped, record: Record) -> None:
    remove_replica(state, body.manifest, body.site)
    resolve(state, body.site, f"drop {body.manifest}")
    reported(state, body.site, record)
    forget_unheld(state, indexes, body.manifest)


def forget_unheld(state: State, indexes: Indexes, manifest: ManifestId) -> None:
    """Forget a checkpoint or a file that no site holds any more, and with it its manifest."""
    held = state.manifests.get(manifest)
    if held is None or held.sites:
        return
    for job_id in indexes.restless.forget(manifest):
        job = state.jobs[job_id]
        job.checkpoints = [c for c in job.checkpoints if c.manifest != manifest]
        index_data(indexes, job)
    if manifest not in indexes.flows.users:
        del state.manifests[manifest]
        indexes.flows.loose.pop(manifest, None)


DATA_REDUCERS: dict[type[e.EventBody], Callable[[State, Indexes, Any, Record], None]] = {
    e.DatasetRegistered: _dataset_registered,
    e.DatasetAdopted: _dataset_adopted,
    e.DatasetRejected: _dataset_rejected,
    e.CheckpointCompleted: _checkpoint_completed,
    e.TransferIssued: _transfer_issued,
    e.TransferEnded: _transfer_ended,
    e.ReplicaDropRequested: _replica_drop_requested,
    e.ReplicaDropped: _replica_dropped,
}
"""The reducer of each kind of event about data."""
