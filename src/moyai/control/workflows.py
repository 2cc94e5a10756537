"""Workflows in control: what a submission becomes, and what follows when a task is over. Never mutates.

Tasks are jobs: everything about attempts, moves of data, retries and bills is as for any other job.
"""

from collections.abc import Sequence
from dataclasses import replace

from moyai.control import requests as r
from moyai.control.flows import Flows
from moyai.control.outcome import cancel_drafts
from moyai.control.possible import check_possible, resolve_data, versions_of
from moyai.control.refused import Refused, near
from moyai.control.state import Indexes, Job, State, Workflow, dataset_key, request_key
from moyai.control.upkeep import holders
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.ids import DatasetName, JobId, WorkflowId
from moyai.model.lifecycle import JOB_ENDED, WORKFLOW_ENDED, JobState, WorkflowState
from moyai.model.reasons import Code, Reason
from moyai.model.workflow import (
    FILE_VERSION,
    File,
    Task,
    TaskOrder,
    file_dataset,
    inherited,
    problems,
    task_job_id,
    workflow_id,
)
from moyai.model.workload import DataUse

MAX_TASKS = 20_000
"""Tasks of one workflow: its graph is one event."""


def submit_workflow(state: State, waiting: int, request: r.SubmitWorkflow, most: int) -> tuple[Draft, ...]:
    """The events of a submission, all or none. `waiting` jobs wait already, and no more than `most` may.

    Raises Refused.
    """
    name = workflow_id(request.tenant, request.project, request.name, request.request)
    known = state.requests.get(request_key(request.tenant, request.project, request.request))
    if known is not None:
        if not _same(state, state.workflows.get(WorkflowId(known)), request):
            message = f"idempotency key {request.request!r} was used for {known}, which is another request"
            raise Refused(409, message, "send a new key")
        return ()
    if not request.tasks or len(request.tasks) != len(request.texts):
        raise Refused(422, "tasks: a workflow needs at least one, each with its text")
    if len(request.tasks) > MAX_TASKS:
        raise Refused(422, f"tasks: {len(request.tasks)} are too many; {MAX_TASKS} are taken", "split the workflow")
    if waiting + len(request.tasks) > most:
        raise Refused(429, f"{waiting} jobs wait already", "try again when some have ended")
    wrong = problems(request.tasks)
    if wrong:
        index, key, what, problem = wrong[0]
        where = f"tasks[{index}]" + (f".{key}" if key else "")
        raise Refused(422, f"{where}: {what!r} {problem}")
    tasks = _resolved(state, request.tasks)
    rules = inherited(tasks, [_outside(state, task) for task in tasks])
    graph: list[Task] = []
    jobs: list[Draft] = []
    for task, text in zip(tasks, request.texts, strict=True):
        more = [(f"file {f}", _rule(f, rules[f])) for f in task.reads]
        try:
            check_possible(state, task.order, [*more, *((f"file {f}", _rule(f, rules[f])) for f in task.writes)])
        except Refused as refused:
            refused.message = f"task {task.order.name}: {refused.message}"
            raise
        job = task_job_id(request.tenant, request.project, task.order.name, request.request)
        if job in state.jobs:
            raise Refused(409, f"task {task.order.name}: its job {job} exists", "send a new key")
        files = tuple(File(f, file_dataset(name, f), _rule(f, rules[f]), f in task.keep) for f in task.writes)
        graph.append(Task(task.order.name, job, task.after, task.reads, files))
        read = tuple(DataUse(file_dataset(name, f), FILE_VERSION) for f in task.reads)
        order = replace(task.order, data=(*task.order.data, *read))
        key = f"{request.request}/{task.order.name}"
        body = e.JobSubmitted(job, order, text)
        jobs.append(Draft(body, Origin.OUTSIDE, request.tenant, request.project, request.actor, key))
    whole = e.WorkflowSubmitted(name, request.name, tuple(graph))
    first = Draft(whole, Origin.OUTSIDE, request.tenant, request.project, request.actor, request.request)
    return (first, *jobs)


def _outside(state: State, task: TaskOrder) -> list[tuple[str, ...]]:
    return [state.datasets[dataset_key(u.dataset, u.version)].profile.residency for u in task.order.data]


def _rule(file: str, rule: tuple[str, ...] | None) -> tuple[str, ...]:
    if rule is None:
        raise Refused(422, f"file {file!r}: no place satisfies the residency of everything that it is made from")
    return rule


def _resolved(state: State, tasks: Sequence[TaskOrder]) -> list[TaskOrder]:
    versions = versions_of(state)
    found: list[TaskOrder] = []
    for task in tasks:
        try:
            found.append(replace(task, order=resolve_data(state, task.order, versions)))
        except Refused as refused:
            refused.message = f"task {task.order.name}: {refused.message}"
            raise
    return found


def _same(state: State, workflow: Workflow | None, request: r.SubmitWorkflow) -> bool:
    """Whether a workflow is what a request asks for; deadlines, made anew from a span each time, aside."""
    if workflow is None or len(workflow.tasks) != len(request.tasks) or workflow.name != request.name:
        return False
    for task, wanted, text in zip(workflow.tasks, request.tasks, request.texts, strict=True):
        job = state.jobs[task.job]
        files = tuple(f.name for f in task.writes)
        kept = tuple(f.name for f in task.writes if f.keep)
        if (task.name, task.after, task.reads, files) != (
            wanted.order.name,
            wanted.after,
            wanted.reads,
            wanted.writes,
        ) or sorted(kept) != sorted(wanted.keep):
            return False
        outside = job.order.data[: len(job.order.data) - len(task.reads)]
        if job.text != text or replace(job.order, deadline=None, data=()) != replace(
            wanted.order, deadline=None, data=()
        ):
            return False
        if [u.dataset for u in outside] != [u.dataset for u in wanted.order.data]:
            return False
    return True


def cancel_workflow(state: State, request: r.CancelWorkflow) -> tuple[Draft, ...]:
    """The end of a workflow and of all its tasks that are not over. Raises Refused."""
    workflow = state.workflows.get(request.workflow)
    if workflow is None:
        known = sorted(state.workflows)
        raise Refused(404, f"there is no workflow {request.workflow!r}", near(request.workflow, list(known)))
    if workflow.state is not WorkflowState.ACTIVE:
        return ()
    body = e.WorkflowCancelRequested(workflow.workflow)
    drafts = [Draft(body, Origin.OUTSIDE, workflow.tenant, workflow.project, request.actor)]
    for task in workflow.tasks:
        drafts += cancel_drafts(state, state.jobs[task.job], request.actor)
    return tuple(drafts)


def ended_as(state: State, job: Job, body: e.AttemptEnded) -> tuple[e.Outcome, Reason]:
    """How an attempt ended as its job sees it: a task that succeeded without a file that it writes has failed."""
    if body.outcome is e.Outcome.SUCCEEDED and job.workflow is not None:
        for file in state.workflows[job.workflow].tasks[job.task].writes:
            if state.datasets[dataset_key(file.dataset, FILE_VERSION)].manifest is None:
                return e.Outcome.FAILED, Reason(Code.NO_OUTPUT, subject=file.name, detail="its site did not keep it")
    return body.outcome, body.reason


def waits_for(state: State, job: Job) -> Reason | None:
    """What a task still waits for; None for a job that waits for no task."""
    if job.workflow is None or job.state is not JobState.PENDING:
        return None
    workflow = state.workflows[job.workflow]
    return waiting_tasks(state, workflow, (workflow.tasks[job.task],)).get(job.job)


def waiting_tasks(state: State, workflow: Workflow, tasks: Sequence[Task]) -> dict[JobId, Reason]:
    """What those of `tasks` still wait for that wait for other tasks of their workflow."""
    over = {t.name for t in workflow.tasks if state.jobs[t.job].state is JobState.SUCCEEDED}
    makers = {file.name: t.name for t in workflow.tasks for file in t.writes}
    found: dict[JobId, Reason] = {}
    for task in tasks:
        before = dict.fromkeys([*task.after, *(makers[file] for file in task.reads)])
        unmet = [name for name in before if name not in over]
        if unmet and state.jobs[task.job].state is JobState.PENDING:
            found[task.job] = Reason(Code.WAITS_FOR, subject=unmet[0], found=len(unmet))
    return found


def follow(state: State, indexes: Indexes) -> tuple[Draft, ...]:
    """What follows from tasks that are over: those behind a failure end, workflows end, files that nobody needs go."""
    flows = indexes.flows
    if not flows.due:
        return ()
    drafts: list[Draft] = []
    gone: dict[JobId, None] = {}
    left: dict[WorkflowId, int] = {}
    for job_id in flows.touched:
        job = state.jobs[job_id]
        assert job.workflow is not None
        left.setdefault(job.workflow, flows.left[job.workflow])
        if job.state is not JobState.SUCCEEDED:
            before = len(gone)
            _end_behind(state, flows, job, gone, drafts)
            left[job.workflow] -= len(gone) - before
    for name, count in left.items():
        if not count and state.workflows[name].state not in WORKFLOW_ENDED:
            drafts.append(_end(state, state.workflows[name]))
    return (*drafts, *_drop_loose(state, indexes))


def _end_behind(state: State, flows: Flows, job: Job, gone: dict[JobId, None], drafts: list[Draft]) -> None:
    """End every task that can't run any more because `job` didn't succeed, directly or through others."""
    todo = [job.job]
    reason = Reason(Code.UPSTREAM, subject=job.order.name)
    for before in todo:  # grows as it goes
        for child in flows.behind.get(before, ()):
            held = state.jobs[child]
            if child in gone or held.state in JOB_ENDED:
                continue
            gone[child] = None
            todo.append(child)
            body = e.JobEnded(child, JobState.CANCELLED, reason)
            drafts.append(Draft(body, Origin.DECIDED, held.tenant, held.project))


def _end(state: State, workflow: Workflow) -> Draft:
    jobs = [state.jobs[task.job] for task in workflow.tasks]
    failed = [j for j in jobs if j.state in JOB_ENDED and j.state is not JobState.SUCCEEDED]
    caused = [j for j in failed if j.reason is None or j.reason.code is not Code.UPSTREAM] or failed
    if not failed:
        to, reason = WorkflowState.SUCCEEDED, Reason(Code.EXIT)
    elif workflow.state is WorkflowState.CANCELLING:
        to, reason = WorkflowState.CANCELLED, workflow.reason or Reason(Code.CANCELLED)
    else:
        first = min(caused, key=lambda j: (j.ended_at, j.submitted_seq))
        to, reason = WorkflowState.FAILED, Reason(Code.UPSTREAM, subject=first.order.name)
    body = e.WorkflowEnded(workflow.workflow, to, reason)
    return Draft(body, Origin.DECIDED, workflow.tenant, workflow.project)


def _drop_loose(state: State, indexes: Indexes) -> list[Draft]:
    """Delete what no dataset and no checkpoint needs, where nothing reads it just now."""
    loose = indexes.flows.loose
    if not loose:
        return []
    busy = {(t.manifest, site) for t in state.transfers.values() for site in (t.source, t.target)}
    saved = {c.manifest for job in indexes.data_jobs for c in state.jobs[job].checkpoints}
    return [
        Draft(e.ReplicaDropRequested(manifest, site), Origin.DECIDED)
        for manifest in loose
        if manifest not in saved and manifest in state.manifests
        for site in holders(state, manifest)
        if (manifest, site) not in busy
    ]


def file_of(dataset: DatasetName) -> str:
    """The name by which tasks call a file; "" for a dataset that no task made."""
    return dataset.partition(".")[2]
