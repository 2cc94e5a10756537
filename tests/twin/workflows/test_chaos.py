"""Workflows under every fault that the twin knows: agents die, sites lose power or disks, messages are lost and doubled."""

from dataclasses import replace

import pytest

from moyai.control import requests as r
from moyai.control.flows import Flows
from moyai.control.state import Indexes
from moyai.model import events as e
from moyai.model.ids import TextRef
from moyai.model.lifecycle import JOB_ENDED, WORKFLOW_ENDED, JobState, WorkflowState
from moyai.model.workflow import TaskOrder, task_job_id, workflow_id
from moyai.model.workload import JobOrder, Need
from moyai.twin.agent import FILE_BYTES
from moyai.twin.engine import Work
from moyai.twin.invariants import findings
from moyai.twin.play import Stage
from moyai.twin.scenario import PROJECT, TENANT
from moyai.twin.world import SECOND


def with_workflow(stage: Stage, *, same_files: bool) -> None:
    """Let people submit a workflow, too, and perhaps cancel it."""
    world, scenario = stage.world, stage.scenario
    tasks: list[TaskOrder] = []
    files: list[str] = []
    works: dict = {}
    for i in range(world.between(2, 7)):
        reads = tuple(f for f in files if world.chance(0.4))
        after = tuple(t.order.name for t in tasks if world.chance(0.15))
        writes = tuple(f"f{i}{k}" for k in range(world.between(0, 2)))
        keep = tuple(f for f in writes if world.chance(0.3))
        order = JobOrder(f"t{i}", Need(1), retries=world.between(0, 2))
        tasks.append(TaskOrder(order, after, reads, writes, keep))
        files += writes
        job = task_job_id(TENANT, PROJECT, order.name, "flow")
        failing = world.rng.choice((0, 0, 0, 0, 1))
        works[job] = Work(world.between(SECOND, 20 * SECOND), failing, files=tuple((f, FILE_BYTES) for f in writes))
    scenario.work.update(works)
    texts = tuple(TextRef(f"flow-{t.order.name}") for t in tasks)
    at = world.between(2 * SECOND, 20 * SECOND)
    more = [(at, r.SubmitWorkflow(TENANT, PROJECT, "ayako", "flow", "flow", tuple(tasks), texts))]
    if world.chance(0.1):
        name = workflow_id(TENANT, PROJECT, "flow", "flow")
        more.append((at + world.between(SECOND, 40 * SECOND), r.CancelWorkflow("ayako", name)))
    requests = tuple(sorted([*scenario.requests, *more], key=lambda q: q[0]))
    stage.scenario = replace(scenario, requests=requests, jobs=(*scenario.jobs, *works))
    for site in stage.sites.values():
        site.same_files = same_files


@pytest.mark.parametrize("seed", range(24))
def test_a_workflow_comes_to_its_end_whatever_goes_wrong(seed: int) -> None:
    stage = Stage(seed)
    with_workflow(stage, same_files=seed % 2 == 0)
    stage.play()
    control = stage.control.control
    assert control is not None
    state = control.state
    assert not list(findings(stage.control.log, control, stage.scenario.jobs, len(stage.control.log.records) // 2))
    for flow in state.workflows.values():
        held = [state.jobs[t.job] for t in flow.tasks]
        assert all(j.state in JOB_ENDED for j in held)
        assert flow.state in WORKFLOW_ENDED
        assert (flow.state is WorkflowState.SUCCEEDED) == all(j.state is JobState.SUCCEEDED for j in held)
        for task in flow.tasks:
            for file in task.writes:
                dataset = state.datasets[f"{file.dataset}@1"]
                if not dataset.keep and dataset.manifest is not None:
                    assert dataset.manifest not in state.manifests or not state.manifests[dataset.manifest].sites
    fresh = Indexes(state)
    for name in Flows.__slots__:
        assert getattr(fresh.flows, name) == getattr(control.indexes.flows, name), name
    kinds = {rec.kind for rec in stage.control.log.read()}
    assert e.WorkflowSubmitted.__name__ in kinds
