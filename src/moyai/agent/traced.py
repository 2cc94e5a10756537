"""The agent's shell and its requests, traced: used in place of the plain ones where somebody asks for traces.

In a job's trace: the command as it came, the claim, the start until the engine said that all ranks run, the run, and
each report. A request of the exchange that brings or takes something is a span of its own, and those link to it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind, Status, StatusCode

from moyai.agent.clocks import boot_us, wall_us
from moyai.agent.control import Control
from moyai.agent.core.effects import EngineEnd
from moyai.agent.engines.base import Grant
from moyai.agent.lines import TRACE
from moyai.agent.shell import Shell
from moyai.agent.tracing import Figure, Traces, carry
from moyai.model.commands import Launch, Stop
from moyai.model.events import AttemptEnded, AttemptStarted, CheckpointCompleted, FileStored, Outcome
from moyai.model.exchange import Ack, Batch, Commands, Hello, Welcome
from moyai.model.ids import AttemptId, NodeName, SiteName, job_of
from moyai.model.units import Instant

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext


class TracedControl(Control):
    """The requests, each with a span and its `traceparent`."""

    traces: Traces
    site: SiteName
    polled: "SpanContext | None" = None
    """The newest poll, where it brought something."""

    def trace(self, traces: Traces, site: SiteName) -> "TracedControl":
        """Add spans to these from now on."""
        self.traces, self.site = traces, site
        return self

    async def hello(self, hello: Hello) -> Welcome:
        """See Control."""
        with _Asking(self.traces, "exchange hello", hello.site):
            return await super().hello(hello)

    async def events(self, batch: Batch) -> Ack:
        """See Control. A mere renewal of the lease is no span."""
        if not batch.reports:
            return await super().events(batch)
        with _Asking(self.traces, "exchange events", self.site, {"moyai.reports": len(batch.reports)}) as asking:
            ack = await super().events(batch)
        now = wall_us()
        for report in batch.reports:
            if report.number > ack.through:
                continue
            match report.body:
                case AttemptStarted() | AttemptEnded() | CheckpointCompleted() | FileStored():
                    attempt = report.body.attempt
                case _:
                    continue
            self.traces.about(
                f"report {report.kind}",
                job_of(attempt),
                attempt,
                start_us=report.reported_at,
                end_us=now,
                kind=SpanKind.PRODUCER,
                figures={"moyai.report": report.number},
                links=(asking.span.get_span_context(),),
            )
        return ack

    async def commands(self, after: int, term: int, wait_s: float) -> Commands:
        """See Control. A poll that brought nothing is no span."""
        asking = _Asking(self.traces, "exchange commands", self.site)
        with asking:
            got = await super().commands(after, term, wait_s)
            asking.told = bool(got.commands or got.asks)
        self.polled = asking.span.get_span_context() if asking.told else None
        return got


class _Asking:
    """A request under way: its span, and the header that names it. `told` False: the span is dropped."""

    def __init__(self, traces: Traces, name: str, site: str, figures: dict[str, Figure] | None = None) -> None:
        self.span: Span = traces.request(name, SpanKind.CLIENT, figures={"moyai.site": site, **(figures or {})})
        self.told = True
        self._token: Any = None

    def __enter__(self) -> "_Asking":
        self._token = TRACE.set(carry(self.span))
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        TRACE.reset(self._token)
        if isinstance(error, Exception):
            self.span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"[:300]))
        if self.told and (error is None or isinstance(error, Exception)):
            self.span.end()


class TracedShell(Shell):
    """The desk of the engine, which notes when what came about."""

    traces: Traces
    _came: dict[AttemptId, int]
    """When the launch of an attempt came, until it runs or is over. As many as the journal holds attempts."""
    _ran: dict[AttemptId, int]

    def trace(self, traces: Traces) -> "TracedShell":
        """Add spans to these from now on."""
        self.traces, self._came, self._ran = traces, {}, {}
        return self

    async def commands(self, commands: Commands) -> None:
        """See Shell."""
        control = self.control
        polled = control.polled if isinstance(control, TracedControl) else None
        before = self.core.cursor
        await super().commands(commands)
        for numbered in commands.commands:
            command = numbered.command
            if not before < numbered.number <= self.core.cursor or not isinstance(command, Launch | Stop):
                continue
            now = wall_us()
            if isinstance(command, Launch) and command.attempt in self.core.attempts:
                self._came[command.attempt] = now
            self.traces.about(
                f"command {numbered.kind}",
                job_of(command.attempt),
                command.attempt,
                start_us=now,
                end_us=now,
                kind=SpanKind.CONSUMER,
                figures={"moyai.command": numbered.number},
                links=(polled,) if polled is not None else (),
            )

    async def claim(self, attempt: AttemptId, nonce: str, ranks: Sequence[int]) -> Grant:
        """See Shell."""
        begun = wall_us()
        grant = await super().claim(attempt, nonce, ranks)
        self.traces.about(
            "claim",
            job_of(attempt),
            attempt,
            start_us=begun,
            end_us=wall_us(),
            figures={"moyai.granted": grant.granted, "moyai.ranks": len(ranks)},
            problem="" if grant.granted else grant.detail or "refused",
        )
        return grant

    def started(self, attempt: AttemptId, nonce: str, at: Instant, boot_us: int, nodes: tuple[NodeName, ...]) -> None:
        """See Shell."""
        super().started(attempt, nonce, at, boot_us, nodes)
        held = self.core.attempts.get(attempt)
        if held is None or held.mark.nonce != nonce or attempt in self._ran:
            return
        self._ran[attempt] = at
        self.traces.about(
            "start",
            job_of(attempt),
            attempt,
            start_us=self._came.pop(attempt, at),
            end_us=at,
            figures={"moyai.nodes": len(nodes)},
        )

    async def ended(self, attempt: AttemptId, end: EngineEnd, started_us: int) -> None:
        """See Shell."""
        ran_us = max(0, boot_us() - started_us) if started_us else 0
        at = wall_us()
        await super().ended(attempt, end, started_us)
        self._came.pop(attempt, None)
        self.traces.about(
            "run",
            job_of(attempt),
            attempt,
            start_us=self._ran.pop(attempt, at - ran_us),
            end_us=at,
            figures={"moyai.outcome": end.outcome.value, "moyai.run_us": end.run_us},
            problem=end.reason.code.value if end.outcome is Outcome.FAILED else "",
        )

    def launch_failed(self, attempt: AttemptId, detail: str) -> None:
        """See Shell."""
        super().launch_failed(attempt, detail)
        now = wall_us()
        start = self._came.pop(attempt, now)
        self.traces.about("start", job_of(attempt), attempt, start_us=start, end_us=now, problem=detail[:300])
