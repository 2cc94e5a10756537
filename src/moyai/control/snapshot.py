"""What the planner sees: frozen copies of the state, with every job's rules, data and estimate resolved."""

from moyai.control.apply import history_key
from moyai.control.outcome import waits_until
from moyai.control.residency import rules
from moyai.control.state import Attempt, Indexes, Job, State, dataset_key
from moyai.control.upkeep import holders, is_safe
from moyai.model.ids import ManifestId, SiteName
from moyai.model.lifecycle import AttemptState
from moyai.model.units import MICROS_PER_SECOND, Instant, after
from moyai.plan.types import Busy, DataView, Flow, QueuedJob, SiteView, Snapshot

DEFAULT_RUN_US = 600 * MICROS_PER_SECOND
"""The estimate for a job that says nothing and whose like has never run."""

OVERRUN_MIN_US = 10 * MICROS_PER_SECOND
"""An attempt that has outrun its estimate is expected to go on for a quarter of its age, but at least this long."""


def snapshot(state: State, indexes: Indexes, now: Instant) -> tuple[Snapshot, tuple[QueuedJob, ...]]:
    """The fleet and the queue, the oldest job first."""
    sites = tuple(
        SiteView(s.profile, s.term > 0, s.lost, s.draining, s.capabilities) for _, s in sorted(state.sites.items())
    )
    busy = tuple(_busy(state, state.attempts[a], now) for a in sorted(indexes.live))
    flows = tuple(Flow(t.source, t.target, t.size_bytes, t.manifest) for _, t in sorted(state.transfers.items()))
    links = {(link.a, link.b): link for _, link in sorted(state.links.items())}
    waiting = sorted((state.jobs[j] for j in indexes.pending), key=lambda j: j.submitted_seq)
    queue = tuple(queued(state, job, now) for job in waiting)
    return Snapshot(state.seq, sites, links, busy, flows), queue


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


def estimate_us(state: State, job: Job) -> int:
    """How long a whole run takes: the user's word, else the median of its like, else a default; at most its limit."""
    runs = sorted(state.history.get(history_key(job), ()))
    guess = job.order.expect_us or (runs[len(runs) // 2] if runs else DEFAULT_RUN_US)
    return min(guess, job.order.limit_us) if job.order.limit_us else guess


def _busy(state: State, attempt: Attempt, now: Instant) -> Busy:
    job = state.jobs[attempt.job]
    length = max(0, attempt.placement.end - attempt.placement.start)
    begun = attempt.started_at or max(attempt.issued_at, attempt.placement.start)
    end = after(Instant(begun), length)
    if end <= now:
        end = after(now, max(OVERRUN_MIN_US, (now - begun) // 4))
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
        unsaved_us=_unsaved_us(state, job, attempt, now) if runs else 0,
        grace_us=grace_us,
    )


def _unsaved_us(state: State, job: Job, attempt: Attempt, now: Instant) -> int:
    """Run time that a stop now would cost: all that no safe checkpoint covers."""
    done = attempt.covered_us + max(0, now - attempt.started_at)
    safe = max((c.covered_us for c in job.checkpoints if is_safe(state, c)), default=0)
    return max(0, done - safe)
