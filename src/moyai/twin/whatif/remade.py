"""The outside events of a log → what a replay starts from."""

from dataclasses import replace

from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.events import Signal
from moyai.model.ids import DatasetName, SiteName, WorkflowId
from moyai.model.site import Link, SiteProfile
from moyai.model.units import MICROS_PER_SECOND
from moyai.model.workflow import TaskOrder, file_dataset
from moyai.model.workload import JobOrder
from moyai.plan.types import Policy
from moyai.twin.replay.setup import Arrival, Cancel, Change, Fault, Flow, Mishap, Placed, Setup
from moyai.twin.whatif.recorded import Told, last_profiles, tries_of, unfinished, usual_us, work_of

PLAN_EVERY_US = MICROS_PER_SECOND // 20
"""A real server plans as soon as something changed."""


def remade(found: Told, name: str) -> Setup:
    """The setup of a replay in which the same things come from outside, and jobs take what they really took."""
    profiles = last_profiles(found)
    arrivals, guessed = _arrivals(found)
    notes = [
        f"outside events of {name}, decided anew; jobs run as long as the log shows",
        "energy, cost and carbon are modelled",
    ]
    if guessed:
        notes.append(
            f"run times of jobs that didn't end by themselves ({guessed:,}) are guessed: as expected or as usual, "
            "twice what they ran at least"
        )
    left = unfinished(found)
    if left:
        notes.append(f"jobs that weren't over when the log ended ({left:,}) end in a replay")
    return Setup(
        name=name,
        profiles=tuple(profiles[site] for site in sorted(profiles)),
        links=_links(found, profiles),
        arrivals=arrivals,
        workflows=_flows(found),
        datasets=_datasets(found, profiles),
        faults=_faults(found, profiles),
        changes=_changes(found, profiles),
        cancels=tuple(
            Cancel(_at(found, record), record.body.job)
            for record in found.outside
            if isinstance(record.body, e.JobCancelRequested)
        ),
        policy=Policy(exact_below_cells=0),
        plan_every_us=PLAN_EVERY_US,
        sample_every_us=found.sample_every_us,
        began=found.began,
        notes=tuple(notes),
    )


def _at(found: Told, record: Record) -> int:
    return record.recorded_at - found.began


def _arrivals(found: Told) -> tuple[tuple[Arrival, ...], int]:
    """The jobs by the time of their submission, and how many run times of them weren't seen."""
    tries, usual = tries_of(found.state), usual_us(found.state)
    arrivals: list[Arrival] = []
    guessed = 0
    for job in sorted(found.state.jobs.values(), key=lambda job: job.submitted_seq):
        work, seen = work_of(found, job, tries.get(job.job, []), usual)
        guessed += not seen
        key = job.request
        order = job.order
        if job.workflow is not None:
            flow = found.state.workflows[job.workflow]
            key, order = f"{flow.request}/{order.name}", _outside(found, job.workflow, order)
        arrivals.append(Arrival(job.submitted_at - found.began, job.tenant, job.project, key, order, work))
    return tuple(arrivals), guessed


def _outside(found: Told, workflow: WorkflowId, order: JobOrder) -> JobOrder:
    """A task's order without the files of its workflow, as it was declared."""
    names: set[DatasetName] = {file.dataset for task in found.state.workflows[workflow].tasks for file in task.writes}
    names |= {file_dataset(workflow, file) for task in found.state.workflows[workflow].tasks for file in task.reads}
    return replace(order, data=tuple(use for use in order.data if use.dataset not in names))


def _flows(found: Told) -> tuple[Flow, ...]:
    flows: list[Flow] = []
    for held in sorted(found.state.workflows.values(), key=lambda held: held.submitted_seq):
        tasks = tuple(
            TaskOrder(
                _outside(found, held.workflow, found.state.jobs[task.job].order),
                task.after,
                task.reads,
                tuple(file.name for file in task.writes),
                tuple(file.name for file in task.writes if file.keep),
            )
            for task in held.tasks
        )
        flows.append(Flow(held.submitted_at - found.began, held.tenant, held.project, held.request, held.name, tasks))
    return tuple(flows)


def _links(found: Told, profiles: dict[SiteName, SiteProfile]) -> tuple[Link, ...]:
    known = [link for link in found.state.links.values() if link.a in profiles and link.b in profiles]
    return tuple(sorted(known, key=lambda link: (link.a, link.b)))


def _datasets(found: Told, profiles: dict[SiteName, SiteProfile]) -> tuple[Placed, ...]:
    """The datasets that people registered and sites took, in the order of their versions."""
    placed: list[Placed] = []
    sizes = {
        (record.body.dataset, record.body.version): record.body.size_bytes
        for record in found.outside
        if isinstance(record.body, e.DatasetAdopted)
    }
    registered = {
        (record.body.profile.name, record.body.profile.version): record
        for record in found.outside
        if isinstance(record.body, e.DatasetRegistered)
    }
    for dataset in found.state.datasets.values():
        if dataset.job is not None or dataset.manifest is None or dataset.site not in profiles:
            continue
        key = (dataset.profile.name, dataset.profile.version)
        at_us = _at(found, registered[key])
        project = registered[key].project
        placed.append(Placed(dataset.tenant, project, dataset.profile, dataset.site, sizes[key], at_us))
    return tuple(sorted(placed, key=lambda p: (p.at_us, p.profile.name, p.profile.version)))


def _faults(found: Told, profiles: dict[SiteName, SiteProfile]) -> tuple[Fault, ...]:
    """Losses and returns, drains and their ends. A site that came late takes nothing before it came."""
    faults: list[Fault] = []
    seen: set[SiteName] = set()
    lost: set[SiteName] = set()
    first_us = min((job.submitted_at - found.began for job in found.state.jobs.values()), default=0)
    for record in found.outside:
        body, at_us = record.body, _at(found, record)
        match body:
            case e.SiteJoined() if body.site in profiles:
                if body.site not in seen and at_us > first_us:
                    faults += [Fault(0, body.site, Mishap.DRAIN), Fault(at_us, body.site, Mishap.UNDRAIN)]
                elif body.site in lost:
                    faults.append(Fault(at_us, body.site, Mishap.BACK))
                seen.add(body.site)
                lost.discard(body.site)
            case e.SiteLost() if body.site in profiles and body.site not in lost:
                lost.add(body.site)
                faults.append(Fault(at_us, body.site, Mishap.LOST))
            case e.SiteDrainChanged() if body.site in profiles:
                faults.append(Fault(at_us, body.site, Mishap.DRAIN if body.draining else Mishap.UNDRAIN))
            case _:
                pass
    return tuple(sorted(faults, key=lambda fault: fault.at_us))


def _changes(found: Told, profiles: dict[SiteName, SiteProfile]) -> tuple[Change, ...]:
    """Signals, and what a later declaration of a site says otherwise."""
    changes: list[Change] = []
    last = dict(profiles)
    for record in found.outside:
        body, at_us = record.body, _at(found, record)
        if isinstance(body, e.SignalChanged) and body.site in profiles:
            changes.append(Change(at_us, body.site, body.signal, body.value))
        elif isinstance(body, e.SiteDeclared) and body.profile.name in profiles:
            before, now = last[body.profile.name], body.profile
            values = (
                (Signal.PRICE, before.price_micro_yen_per_kwh, now.price_micro_yen_per_kwh),
                (Signal.CARBON, before.carbon_mg_per_kwh, now.carbon_mg_per_kwh),
                (Signal.POWER_CAP, before.power_cap_w, now.power_cap_w),
            )
            changes += [Change(at_us, now.name, signal, new) for signal, old, new in values if old != new]
            last[now.name] = now
    return tuple(changes)
