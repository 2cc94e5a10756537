"""What the planner sees: frozen copies of the state, with every job's rules, data and estimate resolved.

What is unchanged since the last look is the same object as then, so that a planner need not look at it again.
"""

from dataclasses import dataclass, field

from moyai.control.estimates import estimate_us, like, remaining_us
from moyai.control.outcome import waits_until
from moyai.control.residency import rules
from moyai.control.state import Attempt, Indexes, Job, State, dataset_key
from moyai.control.upkeep import holders, is_safe
from moyai.model.ids import AttemptId, JobId, ManifestId, SiteName
from moyai.model.lifecycle import AttemptState
from moyai.model.units import Instant, after
from moyai.plan.types import Busy, DataView, Flow, QueuedJob, SiteView, Snapshot


@dataclass(slots=True)
class Seen:
    """What the last look made of each pending job and live attempt."""

    jobs: dict[JobId, QueuedJob] = field(default_factory=dict[JobId, QueuedJob])
    busy: dict[AttemptId, tuple[AttemptState, Instant, Busy]] = field(
        default_factory=dict[AttemptId, tuple[AttemptState, Instant, Busy]]
    )  # with its state and, once it runs, its start


def snapshot(
    state: State, indexes: Indexes, now: Instant, seen: Seen | None = None
) -> tuple[Snapshot, tuple[QueuedJob, ...]]:
    """The fleet and the queue, the oldest job first. `seen` is brought up to date."""
    seen = seen or Seen()
    sites = tuple(
        SiteView(s.profile, s.term > 0, s.lost, s.draining, s.capabilities) for _, s in sorted(state.sites.items())
    )
    busy = _all_busy(state, indexes, now, seen)
    flows = tuple(Flow(t.source, t.target, t.size_bytes, t.manifest) for _, t in sorted(state.transfers.items()))
    links = {(link.a, link.b): link for _, link in sorted(state.links.items())}
    return Snapshot(state.seq, sites, links, busy, flows), _queue(state, indexes, now, seen)


def _all_busy(state: State, indexes: Indexes, now: Instant, seen: Seen) -> tuple[Busy, ...]:
    before, seen.busy = seen.busy, {}
    found: list[Busy] = []
    for name in sorted(indexes.live):
        attempt, known = state.attempts[name], before.get(name)
        mark = attempt.state, attempt.started_at
        # Beside its state, only time, a stop, or its checkpoints and their sites can change it.
        moves = attempt.stop is not None or state.jobs[attempt.job].order.checkpoint is not None
        if known is None or moves or known[:2] != mark or known[2].end <= now:
            made = _busy(state, attempt, now)
            known = (*mark, known[2] if known is not None and known[2] == made else made)
        seen.busy[name] = known
        found.append(known[2])
    return tuple(found)


def _queue(state: State, indexes: Indexes, now: Instant, seen: Seen) -> tuple[QueuedJob, ...]:
    before, after_ = seen.jobs, dict[JobId, QueuedJob]()
    for job in sorted((state.jobs[j] for j in indexes.pending), key=_submitted):
        known = before.get(job.job)
        if known is None or not _same(state, job, known):
            made = queued(state, job, now)
            known = known if known is not None and known == made else made
        after_[job.job] = known
    seen.jobs = after_
    return tuple(after_.values())


def _submitted(job: Job) -> int:
    return job.submitted_seq


def _same(state: State, job: Job, known: QueuedJob) -> bool:
    """Whether a job is surely as it was: it has nothing but its order and its estimate to change by."""
    if job.order.data or job.checkpoints or job.avoid or job.not_before or known.resumes or known.avoid:
        return False
    return not known.not_before and known.run_us == estimate_us(state, job)


def queued(state: State, job: Job, now: Instant) -> QueuedJob:
    """A job as the planner sees it."""
    demands = rules(state, job)
    data: list[DataView] = []
    for use in job.order.data:
        dataset = state.datasets[dataset_key(use.dataset, use.version)]
        held = state.manifests.get(dataset.manifest) if dataset.manifest is not None else None
        data.append(
            DataView(
                name=f"{use.dataset}@{use.version}",
                manifest=dataset.manifest or ManifestId(""),
                size_bytes=held.size_bytes if held else 0,
                sites=tuple(holders(state, dataset.manifest)) if dataset.manifest is not None else (),
                dataset=use.dataset,
                residency=dataset.profile.residency,
                purposes=dataset.profile.purposes,
                purpose=use.purpose,
            )
        )
    resumes: list[tuple[DataView, int]] = []
    for checkpoint in job.checkpoints:
        have = holders(state, checkpoint.manifest)
        if have:
            view = DataView("checkpoint", checkpoint.manifest, checkpoint.size_bytes, tuple(have))
            resumes.append((view, checkpoint.covered_us))
    return QueuedJob(
        job=job.job,
        tenant=job.tenant,
        project=job.project,
        order=job.order,
        submitted_at=job.submitted_at,
        not_before=waits_until(job, now),
        run_us=estimate_us(state, job),
        data=tuple(data),
        resumes=tuple(resumes),
        capabilities=job.order.capabilities,
        restricted=demands,
        avoid=_avoid(job, now),
    )


def _avoid(job: Job, now: Instant) -> tuple[SiteName, ...]:
    return tuple(sorted(site for site, until in job.avoid.items() if until > now))


def _busy(state: State, attempt: Attempt, now: Instant) -> Busy:
    job = state.jobs[attempt.job]
    length = max(0, attempt.placement.end - attempt.placement.start)
    begun = attempt.started_at or max(attempt.issued_at, attempt.placement.start)
    end = after(Instant(begun), length)
    while end <= now:
        end = after(end, max(1, remaining_us(like(state, job), attempt.covered_us + end - begun)))
    runs = attempt.state is AttemptState.RUNNING
    rule = job.order.checkpoint
    grace_us = rule.grace_us if rule else job.order.grace_us
    if attempt.stop is not None:
        end = max(now, min(end, after(attempt.stop_at, grace_us)))
    return Busy(
        attempt=attempt.attempt,
        job=attempt.job,
        tenant=job.tenant,
        site=attempt.site,
        flavor=attempt.placement.flavor,
        nodes=attempt.placement.nodes,
        need=job.order.need,
        power_w=attempt.placement.power_w,
        end=end,
        priority=job.order.priority,
        preemptible=runs and rule is not None and state.sites[attempt.site].reachable,
        unsaved_since=_unsaved_since(state, job, attempt) if runs else Instant(0),
        grace_us=grace_us,
        deadline=job.order.deadline,
    )


def _unsaved_since(state: State, job: Job, attempt: Attempt) -> Instant:
    """What an attempt did since then, no safe checkpoint covers."""
    safe = max((c.covered_us for c in job.checkpoints if is_safe(state, c)), default=0)
    return Instant(attempt.started_at - attempt.covered_us + safe)
