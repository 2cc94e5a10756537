"""The control plane's part of the traces: each event of a job, each attempt, the whole job, and requests.

Used where somebody asks for traces (moyai.agent.tracing); else nothing here is imported.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moyai.agent.tracing import Traces
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.ids import AttemptId, JobId, job_of
from moyai.model.lifecycle import AttemptState, JobState
from moyai.model.units import Instant
from moyai.server import clock
from moyai.server.auth import EXCHANGE

if TYPE_CHECKING:
    from moyai.control.state import State
    from moyai.server.writer import Writer

SUBMIT = "/v1/jobs"
HEAD_BYTES = 4_096
"""Of an answer to a submission, in which the job's id stands."""
EMPTY_POLL_BYTES = 120
"""An answer to a poll that is shorter brings neither commands nor asks, and is no span."""


class ControlTraces:
    """Adds to the traces of jobs what becomes durable."""

    def __init__(self, writer: "Writer", traces: Traces) -> None:
        self._writer = writer
        self._traces = traces
        writer.on_durable.append(self.grown)

    def grown(self, records: Sequence[Record]) -> None:
        """Events are durable."""
        state = self._writer.control.state
        for record in records:
            match record.body:
                case e.JobSubmitted() | e.JobCancelRequested() | e.JobRequeued():
                    self._event(record, record.body.job)
                case e.JobEnded():
                    self._event(record, record.body.job)
                    self._job(state, record.body.job)
                case (
                    e.AttemptIssued()
                    | e.AttemptStarted()
                    | e.AttemptStopRequested()
                    | e.CheckpointCompleted()
                    | e.FileStored()
                ):
                    self._event(record, job_of(record.body.attempt), record.body.attempt)
                case e.AttemptEnded() | e.AttemptLost():
                    self._event(record, job_of(record.body.attempt), record.body.attempt)
                    self._attempt(state, record.body.attempt, record.recorded_at)
                case _:
                    pass

    def _event(self, record: Record, job: JobId, attempt: AttemptId | None = None) -> None:
        at = record.recorded_at
        figures = {"moyai.seq": record.seq, "moyai.actor": record.actor}
        self._traces.about(f"event {record.kind}", job, attempt, start_us=at, end_us=at, figures=figures)

    def _attempt(self, state: "State", name: AttemptId, ended_at: Instant) -> None:
        attempt = state.attempts.get(name)
        if attempt is None:
            return
        bad = attempt.state in (AttemptState.FAILED, AttemptState.LOST) and attempt.reason is not None
        self._traces.about(
            "attempt",
            attempt.job,
            name,
            start_us=attempt.issued_at,
            end_us=ended_at,
            whole=True,
            figures={
                "moyai.site": attempt.site,
                "moyai.flavor": attempt.placement.flavor,
                "moyai.nodes": len(attempt.placement.nodes),
                "moyai.state": attempt.state.value,
                "moyai.run_us": attempt.run_us,
            },
            problem=attempt.reason.code.value if bad and attempt.reason is not None else "",
        )

    def _job(self, state: "State", name: JobId) -> None:
        job = state.jobs[name]
        failed = job.state is JobState.FAILED and job.reason is not None
        self._traces.about(
            "job",
            name,
            start_us=job.submitted_at,
            end_us=job.ended_at,
            whole=True,
            figures={
                "moyai.name": job.order.name,
                "moyai.tenant": job.tenant,
                "moyai.project": job.project,
                "moyai.state": job.state.value,
                "moyai.attempts": job.attempts,
            },
            problem=job.reason.code.value if failed and job.reason is not None else "",
        )


class _Submitted(msgspec.Struct):
    job: str


class TracedApp:
    """ASGI middleware: a span for each write of a person, and for each request that says which trace it is part of."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path, method = scope["path"], scope["method"]
        of_agent = path.startswith(EXCHANGE)
        if "traceparent" not in headers and (of_agent or method == "GET"):
            await self._app(scope, receive, send)
            return
        seen = _Seen(send, keep=path == SUBMIT and method == "POST")
        begun = clock.now()
        span = self._traces.request(method, SpanKind.SERVER, headers)
        try:
            await self._app(scope, receive, seen)
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            span.end()
            raise
        if of_agent and path.endswith("/commands") and seen.size < EMPTY_POLL_BYTES:
            return  # never ended, so never sent
        route = getattr(scope.get("route"), "path", "") or _route(path)
        span.update_name(f"{method} {route}")
        span.set_attribute("http.request.method", method)
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", seen.status)
        if seen.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        if (job := seen.job()) is not None:
            span.add_link(self._traces.of_job(job))
            span.set_attribute("moyai.job", job)
            links = (span.get_span_context(),)
            self._traces.about("request", job, start_us=begun, end_us=clock.now(), kind=SpanKind.SERVER, links=links)
        span.end()


class _Seen:
    """What of an answer goes by: its status, its size, and of one to a submission its first bytes."""

    def __init__(self, send: Send, keep: bool) -> None:
        self._send = send
        self._keep = keep
        self._head = b""
        self.status = 0
        self.size = 0

    async def __call__(self, message: Message) -> None:
        """Note it, and pass it on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            body: bytes = message.get("body", b"")
            self.size += len(body)
            if self._keep and len(self._head) < HEAD_BYTES:
                self._head += body[:HEAD_BYTES]
        await self._send(message)

    def job(self) -> JobId | None:
        """The job that was submitted."""
        if not self._keep or self.status != 200:
            return None
        try:
            return JobId(msgspec.json.decode(self._head, type=_Submitted).job)
        except msgspec.DecodeError:
            return None


def _route(path: str) -> str:
    """A path of the exchange without names in it, for a span's name must not be one of thousands."""
    if not path.startswith(EXCHANGE):
        return "other"
    kinds = {"events", "commands", "hello", "profile", "certificate", "answers", "from", "blobs"}
    kind = path[len(EXCHANGE) :].split("/")[1:2]
    return f"{EXCHANGE}{{site}}/{kind[0]}" if kind and kind[0] in kinds else f"{EXCHANGE}{{site}}"
