"""Whose data may have to move or go: upkeep looks at those jobs alone, and comes to what a look at all would come to.

A job is looked at again after an event about itself, about a manifest that it saved or waits for, or about a site. One
that found its link full is looked at when a transfer there has ended. None of this is part of the state.
"""

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

from moyai.model import events as e
from moyai.model.ids import JobId, ManifestId, job_of
from moyai.model.site import link_key

if TYPE_CHECKING:
    from moyai.control.state import State


class Restless:
    """Told of each event before it is applied.

    `jobs`    to be looked at; `everything`: all of them
    `owners`  jobs that have a checkpoint with that content
    `inputs`  jobs that wait for a manifest at their site
    `queues`  by link: jobs that found it full, with the bytes that they want to move
    `freed`   links on which a transfer has ended since the last look
    `used`    manifests of datasets, as they come and go
    """

    __slots__ = ("_used", "everything", "freed", "inputs", "jobs", "owners", "queues")

    def __init__(self, state: "State", used: Container[ManifestId]) -> None:
        self._used = used
        self.everything = True
        self.jobs: dict[JobId, None] = {}
        self.owners: dict[ManifestId, dict[JobId, None]] = {}
        self.inputs: dict[ManifestId, dict[JobId, None]] = {}
        self.queues: dict[str, dict[JobId, int]] = {}
        self.freed: dict[str, None] = {}
        for job in state.jobs.values():
            for checkpoint in job.checkpoints:
                self.owners.setdefault(checkpoint.manifest, {})[job.job] = None

    @property
    def due(self) -> bool:
        """Whether any job may have to be looked at."""
        return self.everything or bool(self.jobs or self.freed)

    def saw(self, state: "State", body: e.EventBody) -> None:
        """Note whom an event wakes, before it is applied."""
        rule = _RULES.get(type(body))
        if rule is not None:
            rule(self, state, body)

    def touch(self, manifest: ManifestId) -> None:
        """Something about a manifest changes: who holds it, or whether it is on its way."""
        if manifest in self.owners:
            self.jobs.update(self.owners[manifest])
        if manifest in self.inputs:
            self.jobs.update(self.inputs.pop(manifest))

    def dropped(self, manifest: ManifestId) -> None:
        """A replica goes: where it is a dataset's, too, anybody may have counted on it."""
        self.everything |= manifest in self._used

    def woken(self) -> dict[JobId, list[tuple[str, int]]]:
        """Jobs that wait for room on links where there may be some now, with those links and their bytes."""
        found: dict[JobId, list[tuple[str, int]]] = {}
        for lane in self.freed:
            for job, size_bytes in self.queues.get(lane, {}).items():
                found.setdefault(job, []).append((lane, size_bytes))
        return found

    def queue(self, lane: str, job: JobId, size_bytes: int) -> None:
        """A job found a link full."""
        self.queues.setdefault(lane, {})[job] = size_bytes

    def leave(self, lane: str, job: JobId) -> None:
        """A job that waited for a link is looked at."""
        self.queues[lane].pop(job, None)

    def wait(self, manifest: ManifestId, job: JobId) -> None:
        """A job waits for a manifest at its site."""
        self.inputs.setdefault(manifest, {})[job] = None

    def forget(self, manifest: ManifestId) -> dict[JobId, None]:
        """No site holds a manifest any more; who had a checkpoint with that content."""
        return self.owners.pop(manifest, {})

    def rest(self) -> None:
        """Everybody was looked at."""
        self.everything = False
        self.jobs.clear()
        self.freed.clear()


def _anew(restless: Restless, _: "State", __: e.EventBody) -> None:
    restless.everything = True


def _job(restless: Restless, _: "State", body: e.JobSubmitted | e.JobRequeued | e.JobEnded) -> None:
    restless.jobs[body.job] = None


def _attempt(restless: Restless, _: "State", body: e.AttemptIssued | e.AttemptEnded | e.AttemptLost) -> None:
    restless.jobs[job_of(body.attempt)] = None


def _checkpoint(restless: Restless, _: "State", body: e.CheckpointCompleted) -> None:
    job = job_of(body.attempt)
    restless.jobs[job] = None
    restless.owners.setdefault(body.manifest, {})[job] = None
    restless.touch(body.manifest)


def _transfer(restless: Restless, state: "State", body: e.TransferEnded) -> None:
    transfer = state.transfers.get(body.transfer)
    if transfer is None:
        return
    restless.touch(transfer.manifest)
    restless.freed["|".join(link_key(transfer.source, transfer.target))] = None
    if transfer.job is not None:
        restless.jobs[transfer.job] = None


def _replica(restless: Restless, _: "State", body: e.ReplicaDropRequested | e.ReplicaDropped) -> None:
    restless.touch(body.manifest)
    restless.dropped(body.manifest)


def _content(restless: Restless, _: "State", body: e.DatasetAdopted | e.FileStored) -> None:
    restless.touch(body.manifest)


_RULES: dict[type[e.EventBody], Callable[[Restless, "State", Any], None]] = {
    e.SiteDeclared: _anew,
    e.LinkDeclared: _anew,
    e.SiteJoined: _anew,
    e.CapacityReported: _anew,
    e.SiteLost: _anew,
    e.JobSubmitted: _job,
    e.JobRequeued: _job,
    e.JobEnded: _job,
    e.AttemptIssued: _attempt,
    e.AttemptEnded: _attempt,
    e.AttemptLost: _attempt,
    e.CheckpointCompleted: _checkpoint,
    e.TransferEnded: _transfer,
    e.ReplicaDropRequested: _replica,
    e.ReplicaDropped: _replica,
    e.DatasetAdopted: _content,
    e.FileStored: _content,
}
