"""What people ask about workflows: submit, list, look, cancel. Their tasks are jobs, with all that `/v1/jobs` tells."""

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.control.flows import file_key
from moyai.control.state import Workflow, request_key
from moyai.control.upkeep import holders
from moyai.control.workflows import waiting_tasks
from moyai.model.envelope import Record
from moyai.model.ids import BlobId, WorkflowId
from moyai.model.lifecycle import JOB_ENDED, JobState
from moyai.model.reasons import Reason
from moyai.model.specs.problems import SpecError
from moyai.model.specs.workflow import WorkflowSpec, resolve_workflow
from moyai.model.units import Instant
from moyai.model.workflow import File, Task, TaskOrder
from moyai.model.workflow_views import FileView, TaskView, WorkflowRow, WorkflowSubmittedView, WorkflowView
from moyai.model.workload import JobText
from moyai.server import clock
from moyai.server.answers import ApiError, answer, of_spec
from moyai.server.body import read_object
from moyai.server.people import asker, count_in, idempotency_key, only
from moyai.server.schema import WORKFLOW
from moyai.server.shell import Shell
from moyai.server.show import attempts_of

MAX_PAGE = 1_000
MAX_ID = 128
_KEYS = ("spec", "tenant", "project", "workdir", "workdir_bytes")


def workflow_routes(shell: Shell) -> APIRouter:
    """The routes of workflows."""
    routes = APIRouter(tags=["workflows"])

    @routes.post("/v1/workflows", response_model=WorkflowSubmittedView, openapi_extra=WORKFLOW)
    async def submit(request: Request) -> Response:
        """Submit a workflow. The same `Idempotency-Key` with the same body gives the same one; with another, 409."""
        body = await read_object(request)
        by, key = asker(body, request), idempotency_key(request) or secrets.token_hex(16)
        spec, tasks, texts = _orders(body, clock.now())
        for blob in dict.fromkeys(t.order.workdir for t in tasks if t.order.workdir is not None):
            if not await shell.in_thread(partial(shell.blobs.touch, blob)):
                raise ApiError(422, f"there is no blob {blob}", "PUT it to /v1/blobs first", "blob-missing")
        sealed = tuple(shell.texts.seal(by.tenant, text) for text in texts)
        refs = tuple(s.ref for s in sealed)
        wanted = r.SubmitWorkflow(by.tenant, by.project, by.actor, key, spec.name, tasks, refs)

        def act(control: Control) -> tuple[Sequence[Record], WorkflowSubmittedView]:
            """Submit, or find what this key submitted."""
            records = control.request(wanted, clock.now())
            name = control.state.requests[request_key(by.tenant, by.project, key)]
            return records, WorkflowSubmittedView(name, created=bool(records))

        return answer(await shell.writer.do(act, tuple({s.ref: s for s in sealed}.values())))

    @routes.get("/v1/workflows", response_model=list[WorkflowRow])
    async def workflows(limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50) -> Response:
        """Workflows, the newest first."""

        def look(control: Control) -> tuple[WorkflowRow, ...]:
            """The newest ones."""
            newest = sorted(control.state.workflows.values(), key=lambda w: -w.submitted_seq)[:limit]
            return tuple(_row(control, workflow) for workflow in newest)

        return answer(await shell.writer.read(look))

    @routes.get("/v1/workflows/{workflow}", response_model=WorkflowView)
    async def one(workflow: str) -> Response:
        """A workflow with its tasks and files."""
        return answer(await shell.writer.read(lambda c: _view(c, _of(c, workflow), clock.now())))

    @routes.post("/v1/workflows/{workflow}/cancel", response_model=WorkflowView)
    async def cancel(workflow: str, request: Request) -> Response:
        """Ask for the end of a workflow and of all its tasks. One that is over stays as it is."""
        wanted = r.CancelWorkflow(asker({}, request).actor, WorkflowId(workflow))

        def act(control: Control) -> tuple[Sequence[Record], WorkflowView]:
            """Cancel, and look."""
            records = control.request(wanted, clock.now())
            return records, _view(control, control.state.workflows[wanted.workflow], clock.now())

        return answer(await shell.writer.do(act))

    return routes


def _of(control: Control, name: str) -> Workflow:
    """The workflow of that id. Raises ApiError."""
    workflow = control.state.workflows.get(WorkflowId(name))
    if workflow is None:
        raise ApiError(404, f"there is no workflow {name[:MAX_ID]!r}", "GET /v1/workflows tells those that are there")
    return workflow


def _orders(
    body: Mapping[str, object], now: Instant
) -> tuple[WorkflowSpec, tuple[TaskOrder, ...], tuple[JobText, ...]]:
    """What a submission asks for, and its words apart. Raises ApiError."""
    only(body, _KEYS)
    if "spec" not in body:
        raise ApiError(422, "spec: is missing", 'send {"spec": {"name": …, "tasks": […]}}', "bad-spec")
    workdir, size = body.get("workdir"), count_in(body, "workdir_bytes", 2**40)
    if workdir is not None and not isinstance(workdir, str):
        raise ApiError(422, "workdir: must be the name of a blob", code="bad-spec")
    try:
        spec = WorkflowSpec.from_data(body["spec"])
        tasks, texts = resolve_workflow(spec, now, BlobId(workdir) if workdir else None, size if workdir else 0)
    except SpecError as error:
        raise of_spec(error) from None
    if spec.workdir is not None and not workdir:
        hint = "PUT its archive to /v1/blobs and name it as `workdir` beside `spec`"
        raise ApiError(422, "workdir: its files did not come along", hint, "blob-missing")
    return spec, tasks, texts


def _row(control: Control, workflow: Workflow) -> WorkflowRow:
    ended = sum(control.state.jobs[t.job].state in JOB_ENDED for t in workflow.tasks)
    return WorkflowRow(
        workflow.workflow,
        workflow.name,
        workflow.state,
        workflow.submitted_at,
        workflow.ended_at or None,
        len(workflow.tasks),
        ended,
    )


def _view(control: Control, workflow: Workflow, now: Instant) -> WorkflowView:
    jobs = [control.state.jobs[task.job] for task in workflow.tasks]
    attempts = [a for job in jobs for a in attempts_of(control, job)]
    waiting = waiting_tasks(control.state, workflow, workflow.tasks)
    return WorkflowView(
        workflow=workflow.workflow,
        name=workflow.name,
        tenant=workflow.tenant,
        project=workflow.project,
        actor=workflow.actor,
        state=workflow.state,
        reason=workflow.reason,
        submitted_at=workflow.submitted_at,
        ended_at=workflow.ended_at or None,
        cost_micro_yen=sum(a.cost_micro_yen for a in attempts) + sum(job.egress_micro_yen for job in jobs),
        energy_j=sum(a.energy_j for a in attempts),
        carbon_mg=sum(a.carbon_mg for a in attempts),
        moved_bytes=sum(job.moved_bytes for job in jobs),
        tasks=tuple(_task(control, task, now, waiting.get(task.job)) for task in workflow.tasks),
    )


def _task(control: Control, task: Task, now: Instant, waits: Reason | None) -> TaskView:
    job = control.state.jobs[task.job]
    attempts = attempts_of(control, job)
    starts = [a.started_at for a in attempts if a.started_at]
    reason: Reason | None = job.reason
    if job.state is JobState.PENDING:
        reason = waits or control.why(job.job, now).reason
    return TaskView(
        task=task.name,
        job=task.job,
        state=job.state,
        reason=reason,
        site=attempts[-1].site if attempts else "",
        after=task.after,
        reads=task.reads,
        writes=tuple(_file(control, file) for file in task.writes),
        started_at=min(starts) if starts else None,
        ended_at=job.ended_at or None,
    )


def _file(control: Control, file: File) -> FileView:
    manifest = control.state.datasets[file_key(file.dataset)].manifest
    held = control.state.manifests.get(manifest) if manifest is not None else None
    return FileView(
        file=file.name,
        dataset=file.dataset,
        keep=file.keep,
        size_bytes=held.size_bytes if held is not None else 0,
        sites=tuple(holders(control.state, manifest)) if manifest is not None else (),
        residency=file.residency,
    )
