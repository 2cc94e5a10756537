"""The state as the API shows it: views made from control's state, in its own words and units."""

from collections.abc import Sequence
from dataclasses import replace
from heapq import nlargest

from moyai.control.core import Control
from moyai.control.outcome import waits_until
from moyai.control.state import Attempt, Dataset, Job, Site
from moyai.control.upkeep import holders
from moyai.control.usage import idle_power_w
from moyai.model.envelope import Record
from moyai.model.ids import JobId, SiteName, attempt_id
from moyai.model.lifecycle import JOB_ENDED, AttemptState
from moyai.model.reasons import Code
from moyai.model.units import Boot, Instant
from moyai.model.views import (
    AttemptView,
    CheckpointView,
    DatasetState,
    DatasetView,
    EventView,
    FlavorUse,
    JobView,
    SiteState,
    SiteStatus,
    WhyView,
)

_EXITS = (Code.EXIT, Code.COMMAND_NOT_FOUND)


def job_view(control: Control, job: Job, now: Instant) -> JobView:
    """A job with all its attempts."""
    attempts = attempts_of(control, job)
    newest = attempts[-1] if attempts else None
    started = [a.started_at for a in attempts if a.started_at]
    end = job.ended_at or now
    running_us = sum(max(0, (a.ended_at or end) - a.started_at) for a in attempts if a.started_at)
    deadline = job.order.deadline
    kept = None if deadline is None or (not job.ended_at and now <= deadline) else end <= deadline
    planned = control.why(job.job, now).start if job.job in control.indexes.pending else None
    code = newest.reason.found if newest and newest.reason and newest.reason.code in _EXITS else None
    if newest and newest.state is AttemptState.SUCCEEDED:
        code = 0
    return JobView(
        job=job.job,
        name=job.order.name,
        tenant=job.tenant,
        project=job.project,
        actor=job.actor,
        state=job.state,
        reason=job.reason,
        site=newest.site if newest else "",
        submitted_at=job.submitted_at,
        started_at=min(started) if started else None,
        ended_at=job.ended_at or None,
        not_before=waits_until(job, now),
        planned_start=planned,
        deadline=deadline,
        deadline_kept=kept,
        exit_code=code,
        need=job.order.need,
        nodes=job.order.nodes,
        priority=job.order.priority,
        expect_us=job.order.expect_us,
        limit_us=job.order.limit_us,
        retries=job.order.retries,
        own_failures=job.own_failures,
        residency=job.order.residency,
        data=job.order.data,
        attempts=tuple(attempt_view(a) for a in attempts),
        checkpoints=tuple(_checkpoints(control, job)),
        wait_us=max(0, end - job.submitted_at - running_us),
        run_us=sum(a.run_us for a in attempts),
        cost_micro_yen=sum(a.cost_micro_yen for a in attempts) + job.egress_micro_yen,
        energy_j=sum(a.energy_j for a in attempts),
        energy_modelled=any(a.energy_modelled for a in attempts) if attempts else True,
        carbon_mg=sum(a.carbon_mg for a in attempts),
        moved_bytes=job.moved_bytes,
    )


def attempts_of(control: Control, job: Job) -> list[Attempt]:
    """The attempts at a job, oldest first."""
    return [control.state.attempts[attempt_id(job.job, n)] for n in range(1, job.attempts + 1)]


def attempt_view(attempt: Attempt) -> AttemptView:
    """One try."""
    placement = attempt.placement
    return AttemptView(
        attempt=attempt.attempt,
        ordinal=attempt.ordinal,
        site=placement.site,
        flavor=placement.flavor,
        nodes=placement.nodes,
        state=attempt.state,
        issued_at=attempt.issued_at,
        started_at=attempt.started_at or None,
        ended_at=attempt.ended_at or None,
        planned_end=placement.end,
        reason=attempt.reason or attempt.stop,
        restore=attempt.restore,
        covered_us=attempt.covered_us,
        run_us=attempt.run_us,
        cpu_us=attempt.cpu_us,
        energy_j=attempt.energy_j,
        energy_modelled=attempt.energy_modelled,
        cost_micro_yen=attempt.cost_micro_yen,
        carbon_mg=attempt.carbon_mg,
        output_bytes=attempt.output_bytes,
    )


def _checkpoints(control: Control, job: Job) -> Sequence[CheckpointView]:
    views: list[CheckpointView] = []
    for c in job.checkpoints:
        sites = tuple(holders(control.state, c.manifest))
        views.append(
            CheckpointView(c.name, c.attempt, c.manifest, c.size_bytes, c.covered_us, sites, safe=len(sites) >= 2)
        )
    return views


def why_view(control: Control, job: Job, now: Instant) -> WhyView:
    """Why a job stands where it stands."""
    why = control.why(job.job, now)
    run_us, source = (why.expects.run_us, why.expects.source.value) if why.expects else (0, "")
    view = WhyView(job.job, job.state, why.reason, why.considered, why.site, why.start, job.order.deadline)
    return replace(view, awaits=why.awaits, expect_us=run_us, expect_source=source)


def site_status(control: Control, name: SiteName, now: Boot, agent_pid: int | None, problem: str) -> SiteStatus:
    """A site with what it holds."""
    site = control.state.sites[name]
    here = [a for i in control.indexes.live if (a := control.state.attempts[i]).placement.site == name]
    running = sum(a.state is AttemptState.RUNNING for a in here)
    drawn = idle_power_w(site.profile) + control.indexes.usage.power_w(name)
    return SiteStatus(
        site=name,
        state=site_state(site),
        profile=site.profile,
        draining=site.draining,
        term=site.term,
        capabilities=site.capabilities,
        flavors=_flavors(control, site),
        power_w=drawn,
        attempts_issued=len(here),
        attempts_running=running,
        lease_left_us=control.leases.left_us(name, now) if site.reachable else 0,
        agent_pid=agent_pid,
        problem=problem,
    )


def site_state(site: Site) -> SiteState:
    """Where a site stands, in one word."""
    if site.term == 0:
        return SiteState.WAITING
    if site.lost:
        return SiteState.LOST
    return SiteState.DRAINING if site.draining else SiteState.JOINED


def _flavors(control: Control, site: Site) -> tuple[FlavorUse, ...]:
    views: list[FlavorUse] = []
    for f in site.profile.flavors:
        used = [control.indexes.usage.node(site.profile.name, f.name, index) for index in range(f.count)]
        views.append(
            FlavorUse(
                name=f.name,
                count=f.count,
                cores=f.cores,
                memory_bytes=f.memory_bytes,
                accelerator=f.accelerator,
                accelerators=f.accelerators,
                used_cores=sum(u.cores for u in used),
                used_memory_bytes=sum(u.memory_bytes for u in used),
                used_accelerators=sum(u.accelerators for u in used),
                busy_nodes=sum(bool(u.cores or u.memory_bytes or u.accelerators) for u in used),
            )
        )
    return tuple(views)


def dataset_view(control: Control, dataset: Dataset) -> DatasetView:
    """A dataset version and who holds it."""
    state = control.state
    held = state.manifests.get(dataset.manifest) if dataset.manifest else None
    stands = DatasetState.READY if dataset.manifest else DatasetState.ADOPTING
    return DatasetView(
        dataset=dataset.profile.name,
        version=dataset.profile.version,
        tenant=dataset.tenant,
        state=DatasetState.REJECTED if dataset.problem and not dataset.manifest else stands,
        problem=dataset.problem,
        registered_site=dataset.site,
        sites=tuple(holders(state, dataset.manifest)) if dataset.manifest else (),
        residency=dataset.profile.residency,
        purposes=dataset.profile.purposes,
        manifest=dataset.manifest,
        size_bytes=held.size_bytes if held else 0,
    )


def newest_jobs(control: Control, states: frozenset[str], before: str, limit: int) -> tuple[list[JobId], str]:
    """Up to `limit` jobs in these states (any, where empty), newest first, older than `before`; and what to ask next.

    Raises KeyError where there is no job `before`.
    """
    jobs = control.state.jobs
    bound = jobs[JobId(before)].submitted_seq if before else None
    fitting = (
        job
        for job in jobs.values()
        if (bound is None or job.submitted_seq < bound) and (not states or job.state in states)
    )
    found = nlargest(limit + 1, fitting, key=lambda job: job.submitted_seq)
    return [job.job for job in found[:limit]], found[limit - 1].job if len(found) > limit else ""


def busy(control: Control) -> bool:
    """Whether anything waits or runs."""
    return bool(control.indexes.pending or control.indexes.live) or any(
        control.state.jobs[j].state not in JOB_ENDED for j in control.indexes.data_jobs
    )


def event_view(record: Record) -> EventView:
    """An event as JSON shows it."""
    from msgspec import to_builtins

    return EventView(
        seq=record.seq,
        kind=record.kind,
        recorded_at=record.recorded_at,
        reported_at=record.reported_at,
        epoch=record.epoch,
        tenant=record.tenant,
        project=record.project,
        actor=record.actor,
        request=record.request,
        cause=record.cause,
        origin=record.origin,
        hash=record.hash,
        body=to_builtins(record.body),
    )
