"""What must move or go without anybody asking: inputs to where they are needed, checkpoints to a second site, and the
checkpoints that newer ones replaced. One transfer at a time on each link, at its whole pace, or several that are small;
inputs before checkpoints.
"""

from dataclasses import dataclass, field

from moyai.control.bookkeeping import link_between, link_name
from moyai.control.residency import allowed, reachable_sites, rules
from moyai.control.restless import Restless
from moyai.control.state import Attempt, Checkpoint, Indexes, Job, State, dataset_key
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.ids import JobId, ManifestId, SiteName, transfer_id
from moyai.model.lifecycle import JOB_ENDED, AttemptState
from moyai.model.reasons import Code, Reason
from moyai.model.site import Link

TRANSFER_TRIES = 3
"""Transfers that may fail before an attempt is given up, and towards one site before a checkpoint goes elsewhere."""


SMALL_US = 1_000_000
"""A link takes one transfer more while it needs less than this for all that is on it: nothing small holds it up."""
MOST_TOGETHER = 256
"""Transfers on one link at a time."""


@dataclass(slots=True)
class _Round:
    """One pass: the state, the links it has filled, and what it decided."""

    state: State
    restless: Restless
    reachable: list[SiteName]
    lanes: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])  # → transfers, their bytes
    ahead: dict[str, int] = field(default_factory=dict[str, int])  # pace of copies ahead of demand, in bytes a second
    moving: set[tuple[ManifestId, SiteName]] = field(default_factory=set[tuple[ManifestId, SiteName]])
    sending: set[tuple[ManifestId, SiteName]] = field(default_factory=set[tuple[ManifestId, SiteName]])
    drafts: list[Draft] = field(default_factory=list[Draft])

    def move(self, job: Job, manifest: ManifestId, size_bytes: int, source: SiteName, target: SiteName) -> None:
        """Issue a transfer, unless one is under way or the link is taken."""
        link = link_between(self.state, source, target)
        lane = link_name(source, target)
        if link is None or (manifest, target) in self.moving:
            return
        if not self._free(link, lane):
            self.restless.queue(lane, job.job, size_bytes)
            return
        ordinal = self.state.transfer_tries.get(f"{manifest}>{target}", 0) + 1
        self.take(lane, size_bytes)
        self.moving.add((manifest, target))
        self.sending.add((manifest, source))
        body = e.TransferIssued(
            transfer_id(manifest, target, ordinal),
            manifest,
            source,
            target,
            size_bytes,
            max(1, link.bytes_per_second - self.ahead.get(lane, 0)),
            link.latency_us,
            job.job,
        )
        self.drafts.append(Draft(body, Origin.DECIDED, job.tenant, job.project))

    def _free(self, link: Link, lane: str) -> bool:
        count, under_way = self.lanes.get(lane, (0, 0))
        if not count:
            return True
        return count < MOST_TOGETHER and under_way < link.bytes_per_second * SMALL_US // 1_000_000

    def room(self, job: JobId, wishes: list[tuple[str, int]]) -> bool:
        """Whether a job that waits for links alone can move anything now; if so, it waits no more."""
        links = self.state.links
        if not any(lane not in links or self._free(links[lane], lane) for lane, _ in wishes):
            return False
        for lane, _ in wishes:
            self.restless.leave(lane, job)
        return True

    def take(self, lane: str, size_bytes: int) -> None:
        """A transfer is on a link from now on."""
        count, under_way = self.lanes.get(lane, (0, 0))
        self.lanes[lane] = (count + 1, under_way + size_bytes)


def upkeep(state: State, indexes: Indexes) -> tuple[Draft, ...]:
    """Transfers to issue, replicas to drop, and attempts to give up because their data is gone."""
    restless = indexes.restless
    if not restless.due:
        return ()
    woken = {} if restless.everything else restless.woken()
    those = indexes.data_jobs if restless.everything else {**restless.jobs, **woken}
    jobs = [state.jobs[j] for j in sorted(those) if j in indexes.data_jobs]
    known = {} if restless.everything else {j: wishes for j, wishes in woken.items() if j not in restless.jobs}
    restless.rest()
    work = _Round(state, restless, reachable_sites(state))

    def stirs(job: Job) -> bool:
        """Whether anything can come of a look at a job."""
        return job.job not in known or work.room(job.job, known[job.job])

    for transfer in state.transfers.values():
        lane = link_name(transfer.source, transfer.target)
        if transfer.job is not None:
            work.take(lane, transfer.size_bytes)
        else:  # a copy ahead of demand leaves the rest of the link to those that jobs wait for
            work.ahead[lane] = work.ahead.get(lane, 0) + transfer.bytes_per_second
        work.moving.add((transfer.manifest, transfer.target))
        work.sending.add((transfer.manifest, transfer.source))
    for job in jobs:
        if job.newest and state.attempts[job.newest].state is AttemptState.ISSUED and stirs(job):
            _bring_inputs(work, job, state.attempts[job.newest])
    for job in jobs:
        if job.state not in JOB_ENDED and stirs(job):
            _make_safe(work, job)
    for job in jobs:
        if job.job not in known:
            _drop_old(work, job)
    return tuple(work.drafts)


def holders(state: State, manifest: ManifestId) -> list[SiteName]:
    """Reachable sites that hold a manifest and were not told to delete it."""
    held = state.manifests.get(manifest)
    return [] if held is None else [s for s in held.sites if state.sites[s].reachable and s not in held.dropping]


def is_safe(state: State, checkpoint: Checkpoint) -> bool:
    """Whether the loss of any one site leaves the checkpoint somewhere."""
    return len(holders(state, checkpoint.manifest)) >= 2


def nearest(state: State, manifest: ManifestId, size_bytes: int, target: SiteName) -> tuple[SiteName, Link] | None:
    """The reachable holder from which a manifest comes soonest to `target`, and the link; None where there is none."""
    paths = [(s, link) for s in holders(state, manifest) if (link := link_between(state, s, target)) is not None]
    return min(paths, key=lambda p: (p[1].transfer_us(size_bytes), p[0]), default=None)


def inputs_of(state: State, job: Job, restore: ManifestId | None) -> list[ManifestId]:
    """The manifests that must lie at a site before the job starts there: its datasets, and what it resumes from."""
    found: list[ManifestId] = []
    for use in job.order.data:
        manifest = state.datasets[dataset_key(use.dataset, use.version)].manifest
        if manifest is not None:
            found.append(manifest)
    if restore is not None:
        found.append(restore)
    return found


def _bring_inputs(work: _Round, job: Job, attempt: Attempt) -> None:
    state, target = work.state, attempt.site
    if not state.sites[target].reachable:
        return
    for manifest in inputs_of(state, job, attempt.restore):
        if target in holders(state, manifest):
            continue
        work.restless.wait(manifest, job.job)
        if (manifest, target) in work.moving:
            continue
        held = state.manifests.get(manifest)
        source = nearest(state, manifest, held.size_bytes, target) if held else None
        if held is None or source is None or attempt.failed_fetches >= TRANSFER_TRIES:
            body = e.AttemptStopRequested(attempt.attempt, Reason(Code.DATA_LOST, subject=manifest))
            work.drafts.append(Draft(body, Origin.DECIDED, job.tenant, job.project))
            return
        work.move(job, manifest, held.size_bytes, source[0], target)


def _make_safe(work: _Round, job: Job) -> None:
    """Bring the newest complete checkpoint to a second site, where the job could go on if the first is lost."""
    state = work.state
    if not job.checkpoints:
        return
    newest = job.checkpoints[-1]
    have = holders(state, newest.manifest)
    if len(have) != 1 or any(m == newest.manifest for m, _ in work.moving):
        return
    demands, need = rules(state, job), job.order.need
    options: list[tuple[bool, int, SiteName]] = []
    for site in work.reachable:
        profile = state.sites[site].profile
        link = link_between(state, have[0], site)
        tries = state.transfer_tries.get(f"{newest.manifest}>{site}", 0)
        if site in have or link is None or tries >= TRANSFER_TRIES or not allowed(profile, demands):
            continue
        roomy = any(
            f.cores >= need.cores
            and f.memory_bytes >= need.memory_bytes
            and f.accelerators >= need.accelerators
            and (not need.accelerators or f.accelerator == need.accelerator)
            for f in profile.flavors
        )
        options.append((not roomy, link.transfer_us(newest.size_bytes), site))
    if options:
        work.move(job, newest.manifest, newest.size_bytes, have[0], min(options)[2])


def _drop_old(work: _Round, job: Job) -> None:
    """Delete checkpoints that a newer one replaced, once that one is safe; all of them when the job is over."""
    state = work.state
    keep: set[ManifestId] = set()
    if job.state not in JOB_ENDED and job.checkpoints:
        keep.add(job.checkpoints[-1].manifest)
        keep.update([c.manifest for c in job.checkpoints if is_safe(state, c)][-1:])
        if not any(is_safe(state, c) for c in job.checkpoints):
            # Whatever one site holds beside something newer is lost with that: each site's newest is enough.
            newest_at = {site: c.manifest for c in job.checkpoints for site in holders(state, c.manifest)}
            keep.update(newest_at.values())
        if job.newest and (restore := state.attempts[job.newest].restore):
            keep.add(restore)
    for checkpoint in job.checkpoints:
        if checkpoint.manifest in keep:
            continue
        for site in holders(state, checkpoint.manifest):
            busy = (checkpoint.manifest, site) in work.sending or (checkpoint.manifest, site) in work.moving
            if not busy:
                body = e.ReplicaDropRequested(checkpoint.manifest, site)
                work.drafts.append(Draft(body, Origin.DECIDED, job.tenant, job.project))
