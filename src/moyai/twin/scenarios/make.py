"""A scenario, a trace and a seed → what a replay starts from."""

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from moyai.model.ids import SiteName, TenantName
from moyai.model.specs.fields import span_us
from moyai.model.specs.problems import Path, Problem, SpecError, quoted
from moyai.model.specs.quantity import need_words, span_text
from moyai.model.specs.scenario_jobs import WorkSpec
from moyai.model.units import MICROS_PER_HOUR, Instant, after
from moyai.plan.types import Policy
from moyai.twin.replay.setup import Arrival, Setup
from moyai.twin.scenarios.draw import Draw
from moyai.twin.scenarios.fits import Room
from moyai.twin.scenarios.notes import LeftOut, notes
from moyai.twin.scenarios.scenario import PROJECT, Scenario
from moyai.twin.scenarios.signals import changes
from moyai.twin.scenarios.synthetic import generate
from moyai.twin.traces.read import Format, read
from moyai.twin.traces.trace import Trace, TraceJob
from moyai.twin.workflows.fleet import homes_of
from moyai.twin.workflows.fleet import setup as workflow_setup
from moyai.twin.workflows.graph import graph_of

DAY_US = 24 * MICROS_PER_HOUR
NAMED = 8
"""Jobs too large for every site that are named one by one."""


def setup(scenario: Scenario, trace: Trace | None = None, seed: int = 0) -> Setup:
    """What a replay of the scenario starts from. Equal arguments give equal setups.

    trace  None: the one that the scenario names, or its made-up jobs; a workflow is replayed as one
    seed   of all that is drawn: homes, types, deadlines, estimates, checkpoints, failures, data, made-up jobs

    Raises SpecError or TraceError with all that is wrong: no jobs, a job that no site could hold, a horizon shorter
    than a job, a series that ends too soon.
    """
    spec = scenario.spec.jobs
    made_up = trace is None and spec.trace is None
    if trace is None:
        trace = trace_of(scenario, seed)
    if any(job.parents for job in trace.jobs):
        return _workflow(scenario, trace, seed)
    jobs, left = ([(job, job.submitted_us) for job in trace.jobs], LeftOut()) if made_up else _chosen(spec, trace)
    last_us = jobs[-1][1] if jobs else 0
    longest_us = max((job.run_us or 0 for job, _ in jobs), default=0)
    profiles, later = changes(scenario, last_us, last_us + 2 * DAY_US + min(2 * longest_us, 14 * DAY_US))
    room = Room(profiles)
    homes = _homes(scenario, room, {job.tenant for job, _ in jobs}, seed)
    shares = [float(dataset.share) for dataset in scenario.spec.datasets]
    draw = Draw(spec, room, homes, seed, list(zip(scenario.datasets, shares, strict=True)))
    arrivals: list[Arrival] = []
    misfits: list[tuple[TraceJob, Arrival]] = []
    for job, at_us in jobs:
        drawn = draw.job(job, _name(job), after(scenario.began, at_us))
        arrival = Arrival(at_us, job.tenant, PROJECT, job.name, drawn.order, drawn.work)
        if room.sites(drawn.order.need, drawn.order.nodes):
            arrivals.append(arrival)
        else:
            misfits.append((job, arrival))
    problems = _misfits(scenario, misfits) if spec.too_large == "refuse" else []
    problems += _too_short(scenario, arrivals)
    if not problems and not arrivals:
        problems.append(_problem(scenario, ("jobs",), f"no job of {quoted(trace.name)} is left to replay", _why(left)))
    if problems:
        raise SpecError(tuple(problems))
    left = replace(left, too_large=len(misfits))
    longest_us = max((arrival.work.total_us for arrival in arrivals), default=0)
    return Setup(
        name=scenario.name,
        profiles=profiles,
        links=scenario.links,
        arrivals=tuple(arrivals),
        datasets=scenario.datasets,
        faults=scenario.faults,
        changes=later,
        homes=homes,
        policy=_policy(scenario.policy, longest_us),
        plan_every_us=span_us(scenario.spec.plan_every),
        sample_every_us=span_us(scenario.spec.sample_every),
        began=scenario.began,
        notes=notes(scenario.spec, profiles, trace, left, made_up=made_up),
    )


def _workflow(scenario: Scenario, trace: Trace, seed: int) -> Setup:
    """What a replay of one workflow starts from: submitted at the start, its inputs at sites drawn by `seed`.

    Of the scenario's jobs nothing holds but what becomes of one that no site could hold. Raises as `setup` does.
    """
    graph = graph_of(trace)
    longest_us = max(job.run_us or 0 for job in trace.jobs)
    last_us = sum(job.run_us or 0 for job in trace.jobs)  # one after another: it takes no longer
    profiles, later = changes(scenario, 0, min(last_us, 60 * DAY_US) + DAY_US)
    places = homes_of(graph, profiles, seed)
    made = workflow_setup(graph, profiles, scenario.links, places, _policy(scenario.policy, longest_us))
    room = Room(profiles)
    misfits = [
        (task, arrival)
        for task, arrival in zip(graph.tasks, made.arrivals, strict=True)
        if not room.sites(arrival.order.need, arrival.order.nodes)
    ]
    problems = [*_misfits(scenario, misfits), *_too_short(scenario, made.arrivals)]
    if problems:
        raise SpecError(tuple(problems))
    drawn = "where a workflow's inputs lie is drawn: synthetic; run times and sizes are the trace's, estimates exact"
    return replace(
        made,
        name=scenario.name,
        faults=scenario.faults,
        changes=later,
        plan_every_us=min(made.plan_every_us, span_us(scenario.spec.plan_every)),
        sample_every_us=span_us(scenario.spec.sample_every),
        began=scenario.began,
        notes=(f"jobs: {trace.source} ({trace.licence})", *trace.notes, *scenario.spec.notes, drawn),
    )


def trace_of(scenario: Scenario, seed: int = 0) -> Trace:
    """The trace that a scenario names, or its made-up jobs. Raises SpecError where it has neither, or TraceError."""
    spec = scenario.spec.jobs
    if spec.trace is not None:
        format = Format(spec.trace.format) if spec.trace.format else None
        return read(scenario.base / spec.trace.file, format, strict=True)[0]
    if spec.synthetic is None:
        hint = "write `trace` or `synthetic`, or name a trace by --trace"
        raise SpecError((_problem(scenario, ("jobs",), "names no jobs", hint),))
    local = Instant(scenario.began + scenario.spec.utc_offset_h * MICROS_PER_HOUR)
    sites = tuple(profile.name for profile in scenario.profiles)
    return generate(spec.synthetic, scenario.spec.tenants, sites, local, seed)


def _chosen(spec: WorkSpec, trace: Trace) -> tuple[list[tuple[TraceJob, int]], LeftOut]:
    """The jobs of the window with the times of their submissions, in order; and how many were left out."""
    start_us = span_us(spec.window.start)
    end_us = start_us + span_us(spec.window.length) if spec.window.length else None
    longest_us = span_us(spec.longest)
    inside = [
        job for job in trace.jobs if start_us <= job.submitted_us and (end_us is None or job.submitted_us < end_us)
    ]
    known = [job for job in inside if job.run_us is not None]
    short = [job for job in known if not longest_us or (job.run_us or 0) <= longest_us]
    taken = short[: spec.most]
    left = LeftOut(
        no_run_time=len(inside) - len(known),
        too_long=len(known) - len(short),
        outside=len(trace.jobs) - len(inside) + len(short) - len(taken),
    )
    return [(job, int((job.submitted_us - start_us) / spec.compress)) for job in taken], left


def _homes(scenario: Scenario, room: Room, tenants: set[TenantName], seed: int) -> dict[TenantName, SiteName]:
    """The home of each tenant: as written; else by chance, a larger site more often."""
    written = {TenantName(tenant.name): SiteName(tenant.home) for tenant in scenario.spec.tenants}
    written |= {TenantName(f"at-{profile.name}"): profile.name for profile in scenario.profiles}
    names = [profile.name for profile in scenario.profiles]
    sizes = [sum(f.count * max(1, f.accelerators) for f in profile.flavors) for profile in scenario.profiles]
    chance = Random(f"{seed}/homes")  # noqa: S311 - to be repeated is the point
    return {t: written[t] if t in written else chance.choices(names, sizes)[0] for t in sorted(tenants)}


def _name(job: TraceJob) -> str:
    """What recurs of a job, so that its like has a history: its kind or its user, and its size."""
    said = re.sub("[^a-z0-9]+", "-", (job.kind or job.user or "job").lower()).strip("-")[:40].strip("-")
    return f"{said or 'job'}-{job.nodes * max(1, job.need.accelerators)}"


def _policy(policy: Policy, longest_us: int) -> Policy:
    """The policy with a horizon that holds the longest job, rounded up to days."""
    if policy.horizon_us >= longest_us:
        return policy
    return replace(policy, horizon_us=-(-longest_us // DAY_US) * DAY_US)


def _too_short(scenario: Scenario, arrivals: Sequence[Arrival]) -> list[Problem]:
    horizon = scenario.spec.policy.horizon
    if horizon is None or not arrivals:
        return []
    longest = max(arrivals, key=lambda arrival: arrival.work.total_us)
    if longest.work.total_us <= span_us(horizon):
        return []
    runs = span_text(longest.work.total_us // 1_000_000 * 1_000_000)
    wrong = f"is shorter than the job {quoted(longest.key)}, which runs {runs}"
    hint = "raise it, or leave long jobs out by `jobs.longest`"
    return [_problem(scenario, ("policy", "horizon"), wrong, hint, quoted(span_text(span_us(horizon))))]


def _misfits(scenario: Scenario, misfits: Sequence[tuple[TraceJob, Arrival]]) -> list[Problem]:
    """One problem for each kind of job that no site could hold, up to NAMED of them."""
    if not misfits:
        return []
    path: Path = ("jobs", "trace") if scenario.spec.jobs.trace else ("jobs",)
    kinds = {(a.order.need, a.order.nodes): job for job, a in reversed(misfits)}
    found: list[Problem] = []
    for (need, nodes), job in list(kinds.items())[::-1][:NAMED]:
        count = sum(a.order.need == need and a.order.nodes == nodes for _, a in misfits)
        more = f" (and {count - 1} more like it)" if count > 1 else ""
        asks = f"{nodes} {'node' if nodes == 1 else 'nodes'} of {need_words(need)}"
        wrong = f"the job {quoted(job.name)}{more} asks for {asks}, and no site could ever hold that"
        hint = "give a site such nodes, put a type in its place by `jobs.accelerators`, or write 'too_large: leave-out'"
        found.append(_problem(scenario, path, wrong, hint))
    return found


def _problem(scenario: Scenario, path: Path, wrong: str, hint: str = "", found: str = "") -> Problem:
    return scenario.spec.source.problem(path, wrong, hint, found)


def _why(left: LeftOut) -> str:
    reasons = (
        (left.outside, "outside the window"),
        (left.no_run_time, "without a run time"),
        (left.too_long, "longer than `longest`"),
        (left.too_large, "too large"),
    )
    return ", ".join(f"{count} {why}" for count, why in reasons if count) or "the trace has none"
