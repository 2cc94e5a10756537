"""What people ask about jobs: submit, list, look, why, cancel, and the plan for one that is not submitted."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.control.handle import handle
from moyai.control.snapshot import queued, snapshot
from moyai.control.state import Job, request_key
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.ids import BlobId, JobId, TextRef
from moyai.model.lifecycle import JobState
from moyai.model.reasons import Code, Reason
from moyai.model.specs.job import JobSpec
from moyai.model.specs.problems import SpecError
from moyai.model.specs.resolve import resolve
from moyai.model.units import Instant
from moyai.model.views import JobPage, JobView, Submitted, WhyView
from moyai.model.workload import JobOrder, JobText
from moyai.plan.types import Plan, QueuedJob, Snapshot
from moyai.server import clock
from moyai.server.answers import ApiError, answer, of_spec
from moyai.server.body import read_object
from moyai.server.people import Asker, asker, count_in, idempotency_key, only
from moyai.server.schema import PLAN, SUBMIT
from moyai.server.shell import Shell
from moyai.server.show import job_view, newest_jobs, why_view

MAX_PAGE = 1_000
MAX_ID = 128
_KEYS = ("spec", "tenant", "project", "workdir", "workdir_bytes")


def job_routes(shell: Shell) -> APIRouter:
    """The routes of jobs, their output apart."""
    routes = APIRouter(tags=["jobs"])

    @routes.post("/v1/jobs", response_model=Submitted, openapi_extra=SUBMIT)
    async def submit(request: Request) -> Response:
        """Submit a job. The same `Idempotency-Key` with the same body gives the same job; with another body, 409."""
        body = await read_object(request)
        by, key = asker(body, request), idempotency_key(request) or secrets.token_hex(16)
        order, text = _order(body, clock.now())
        blob = order.workdir
        if blob is not None and not await shell.in_thread(lambda: shell.blobs.touch(blob)):
            raise ApiError(422, f"there is no blob {blob}", "PUT it to /v1/blobs first", "blob-missing")
        sealed = shell.texts.seal(by.tenant, text)
        wanted = r.SubmitJob(by.tenant, by.project, by.actor, key, order, sealed.ref)

        def act(control: Control) -> tuple[Sequence[Record], Submitted]:
            """Submit, or find what this key submitted."""
            before = control.state.seq
            records = control.request(wanted, clock.now())
            job = control.state.jobs[control.state.requests[request_key(by.tenant, by.project, key)]]
            return records, Submitted(job.job, job.submitted_seq, created=job.submitted_seq > before)

        return answer(await shell.writer.do(act, (sealed,)))

    @routes.get("/v1/jobs", response_model=JobPage)
    async def jobs(
        state: Annotated[str, Query(max_length=200, description="States, with commas between them.")] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        before: Annotated[str, Query(max_length=MAX_ID, description="What the page before said.")] = "",
    ) -> Response:
        """Jobs, the newest first."""
        states = _states(state)

        def look(control: Control) -> JobPage:
            """One page."""
            if before and before not in control.state.jobs:
                raise ApiError(404, f"there is no job {before!r}")
            now = clock.now()
            names, rest = newest_jobs(control, states, before, limit)
            return JobPage(tuple(job_view(control, control.state.jobs[j], now) for j in names), rest)

        return answer(await shell.writer.read(look))

    @routes.get("/v1/jobs/{job}", response_model=JobView)
    async def one(job: str) -> Response:
        """A job with its attempts, its checkpoints and what it used."""
        return answer(await shell.writer.read(lambda c: job_view(c, job_of(c, job), clock.now())))

    @routes.get("/v1/jobs/{job}/why", response_model=WhyView)
    async def why(job: str) -> Response:
        """Why a job stands where it stands, with a row for each site that was considered."""
        return answer(await shell.writer.read(lambda c: why_view(c, job_of(c, job), clock.now())))

    @routes.post("/v1/jobs/{job}/cancel", response_model=JobView)
    async def cancel(job: str, request: Request) -> Response:
        """Ask for a job's end. One that is over stays as it is."""
        wanted = r.CancelJob(asker({}, request).actor, JobId(job))

        def act(control: Control) -> tuple[Sequence[Record], JobView]:
            """Cancel, and look."""
            records = control.request(wanted, clock.now())
            return records, job_view(control, control.state.jobs[wanted.job], clock.now())

        return answer(await shell.writer.do(act))

    @routes.post("/v1/plan", response_model=WhyView, openapi_extra=PLAN)
    async def plan(request: Request) -> Response:
        """What would become of a job if it were submitted now. Nothing is submitted."""
        body = await read_object(request)
        by, now = asker(body, request), clock.now()
        order, _ = _order(body, now, dry=True)
        control = await shell.writer.loaded()
        fleet, queue, mine = _as_if(control, by, order, now)
        made = await shell.planner.plan_once(fleet, queue, now)
        return answer(_outlook(made, mine, now))

    return routes


def job_of(control: Control, name: str) -> Job:
    """The job of that id. Raises ApiError."""
    job = control.state.jobs.get(JobId(name))
    if job is None:
        raise ApiError(404, f"there is no job {name[:MAX_ID]!r}", "`moyai ps` shows those that are there")
    return job


def _states(said: str) -> frozenset[str]:
    states = frozenset(s for s in said.split(",") if s)
    unknown = sorted(states - {s.value for s in JobState})
    if unknown:
        raise ApiError(400, f"state: there is no {unknown[0]!r}", f"known: {', '.join(s.value for s in JobState)}")
    return states


def _order(body: Mapping[str, object], now: Instant, dry: bool = False) -> tuple[JobOrder, JobText]:
    """What a submission asks for, and its words apart. Raises ApiError."""
    only(body, _KEYS)
    if "spec" not in body:
        raise ApiError(422, "spec: is missing", 'send {"spec": {"name": …, "run": …}}', "bad-spec")
    workdir, size = body.get("workdir"), count_in(body, "workdir_bytes", 2**40)
    if workdir is not None and not isinstance(workdir, str):
        raise ApiError(422, "workdir: must be the name of a blob", code="bad-spec")
    try:
        spec = JobSpec.from_data(body["spec"])
        order, text = resolve(spec, now, BlobId(workdir) if workdir else None, size if workdir else 0)
    except SpecError as error:
        raise of_spec(error) from None
    if spec.workdir is not None and not workdir and not dry:
        hint = "PUT its archive to /v1/blobs and name it as `workdir` beside `spec`"
        raise ApiError(422, "workdir: its files did not come along", hint, "blob-missing")
    return order, text


def _as_if(control: Control, by: Asker, order: JobOrder, now: Instant) -> tuple[Snapshot, tuple[QueuedJob, ...], JobId]:
    """The fleet and the queue as they would be with this job at its end. Raises Refused as a submission would."""
    key = f"dry-run-{secrets.token_hex(16)}"
    wanted = r.SubmitJob(by.tenant, by.project, by.actor, key, order, TextRef(""))
    submitted = handle(control.state, control.indexes, wanted, now)[0].body
    assert isinstance(submitted, e.JobSubmitted)
    job = Job(
        job=submitted.job,
        tenant=by.tenant,
        project=by.project,
        actor=by.actor,
        request=key,
        order=submitted.order,
        text=submitted.text,
        submitted_at=now,
        submitted_seq=control.state.seq + 1,
    )
    fleet, queue = snapshot(control.state, control.indexes, now)
    return fleet, (*queue, queued(control.state, job, now)), job.job


def _outlook(plan: Plan, job: JobId, now: Instant) -> WhyView:
    """What a plan says of a job that is in it for a try."""
    for planned in plan.placements:
        if planned.job == job:
            place = planned.placement
            wait = max(0, place.start - now)
            code = Code.CAPACITY if planned.issue_at > now else Code.CHOSEN
            reason = Reason(code, subject=place.site, found=wait if code is Code.CAPACITY else 0)
            return WhyView("", JobState.PENDING, reason, place.considered, place.site, place.start)
    for waiting in plan.waiting:
        if waiting.job == job:
            return WhyView("", JobState.PENDING, waiting.reason, waiting.considered)
    return WhyView("", JobState.PENDING, Reason(Code.UNPLANNED), ())
