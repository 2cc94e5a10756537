"""What events about workflows change: the workflow, the jobs that its tasks are, and the files that they make."""

from collections.abc import Callable
from typing import Any

from moyai.control.apply_data import add_replica
from moyai.control.bookkeeping import index_data, reported, resolve
from moyai.control.flows import file_key
from moyai.control.state import BrokenInvariant, Dataset, Indexes, Job, State, Workflow, request_key
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.ids import DatasetName, JobId, SiteName, TextRef
from moyai.model.lifecycle import JOB_ENDED, WORKFLOW_MOVES, JobState, WorkflowState
from moyai.model.reasons import Code, Reason
from moyai.model.workflow import FILE_VERSION
from moyai.model.workload import DatasetProfile


def _move(workflow: Workflow | None, event: str, to: WorkflowState) -> None:
    before = workflow.state if workflow else None
    if to not in WORKFLOW_MOVES.get((before, event), ()):
        name = workflow.workflow if workflow else "a new workflow"
        raise BrokenInvariant(f"{name}: no move from {before} to {to} by {event}")


def _workflow_submitted(state: State, indexes: Indexes, body: e.WorkflowSubmitted, record: Record) -> None:
    _move(state.workflows.get(body.workflow), "WorkflowSubmitted", WorkflowState.ACTIVE)
    workflow = Workflow(
        workflow=body.workflow,
        tenant=record.tenant,
        project=record.project,
        actor=record.actor,
        request=record.request,
        name=body.name,
        tasks=body.tasks,
        submitted_at=record.recorded_at,
        submitted_seq=record.seq,
    )
    state.workflows[body.workflow] = workflow
    state.requests[request_key(record.tenant, record.project, record.request)] = JobId(body.workflow)
    for number, task in enumerate(body.tasks):
        indexes.tasks[task.job] = (body.workflow, number)
        for file in task.writes:
            profile = DatasetProfile(file.dataset, FILE_VERSION, file.residency)
            state.datasets[file_key(file.dataset)] = Dataset(
                profile, record.tenant, SiteName(""), TextRef(""), job=task.job, keep=file.keep
            )
    indexes.flows.open(state, workflow)


def task_submitted(indexes: Indexes, job: Job) -> bool:
    """Note whose task a new job is, if it is one. Whether it still waits for other tasks."""
    found = indexes.tasks.get(job.job)
    if found is None:
        return False
    job.workflow, job.task = found
    return job.job in indexes.flows.unmet


def task_ended(state: State, indexes: Indexes, job: Job) -> None:
    """A job is over: where it is a task, those behind it may be due, and files may be needed no more."""
    if job.workflow is None:
        return
    task = state.workflows[job.workflow].tasks[job.task]
    for free in indexes.flows.ended(state, job.workflow, task, well=job.state is JobState.SUCCEEDED):
        if state.jobs[free].state is JobState.PENDING:
            indexes.pending[free] = None
            index_data(indexes, state.jobs[free])


def _workflow_cancel_requested(state: State, _: Indexes, body: e.WorkflowCancelRequested, record: Record) -> None:
    workflow = state.workflows[body.workflow]
    _move(workflow, "WorkflowCancelRequested", WorkflowState.CANCELLING)
    workflow.state, workflow.reason = WorkflowState.CANCELLING, Reason(Code.CANCELLED, subject=record.actor)


def _workflow_ended(state: State, indexes: Indexes, body: e.WorkflowEnded, record: Record) -> None:
    workflow = state.workflows[body.workflow]
    _move(workflow, "WorkflowEnded", body.state)
    if indexes.flows.left[body.workflow]:
        raise BrokenInvariant(f"{body.workflow} is over while tasks of it are not")
    workflow.state, workflow.reason, workflow.ended_at = body.state, body.reason, record.recorded_at
    indexes.flows.close(workflow)


def _file_stored(state: State, indexes: Indexes, body: e.FileStored, record: Record) -> None:
    attempt = state.attempts[body.attempt]
    job = state.jobs[attempt.job]
    add_replica(state, body.manifest, attempt.site, body.size_bytes)
    resolve(state, attempt.site, f"drop {body.manifest}")  # wanted before this was known: the agent passes it over
    dataset = state.datasets[file_key(DatasetName(f"{job.workflow}.{body.file}"))]
    if body.attempt == job.newest and job.state not in JOB_ENDED and dataset.manifest != body.manifest:
        indexes.flows.stored(dataset, body.manifest)
        dataset.manifest, dataset.site = body.manifest, attempt.site
    elif body.manifest not in indexes.flows.users:
        indexes.flows.loose[body.manifest] = None
    reported(state, attempt.site, record)


WORKFLOW_REDUCERS: dict[type[e.EventBody], Callable[[State, Indexes, Any, Record], None]] = {
    e.WorkflowSubmitted: _workflow_submitted,
    e.WorkflowCancelRequested: _workflow_cancel_requested,
    e.WorkflowEnded: _workflow_ended,
    e.FileStored: _file_stored,
}
"""The reducer of each kind of event about workflows."""
