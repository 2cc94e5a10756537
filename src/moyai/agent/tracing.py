"""Traces by OpenTelemetry, where the standard OTEL_* variables ask for them; else nothing of it is ever imported.

A job's trace is put together from what control and agents add to it, each by itself (moyai.model.trace). Requests of
the exchange have traces of their own, carried by W3C's `traceparent`; the spans of jobs link to them.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Union

from moyai.model.ids import AttemptId, JobId
from moyai.model.trace import span_of, trace_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, SpanKind

LOG = logging.getLogger("moyai.tracing")
CLOSE_S = 2.0
"""How long the last spans may take to leave; what is left then is lost."""
Figure = Union[str, int, float, bool]  # noqa: UP007 – a value of a span's attribute


def wanted(env: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces, in a way that is known here."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = env.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in ("", "otlp", "none"):
        LOG.warning("OTEL_TRACES_EXPORTER=%s: no traces: only otlp is known here", exporter)
    if exporter:
        return exporter == "otlp"
    return bool(env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def open_traces(service: str, about: Mapping[str, str], env: Mapping[str, str]) -> "Traces | None":
    """Traces sent by OTLP over HTTP, or None where nobody asks for them, or the library is not there."""
    if not wanted(env):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        LOG.warning("no traces: %s; pip install 'moyai[otel]'", error)
        return None
    named = "OTEL_SERVICE_NAME" in env or "service.name" in env.get("OTEL_RESOURCE_ATTRIBUTES", "")
    attributes: dict[str, str] = {**about, **({} if named else {"service.name": service})}
    provider = TracerProvider(resource=Resource.create(dict(attributes)), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)


class Traces:
    """Makes spans. All methods belong to one thread; they never wait."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class Ids(RandomIdGenerator):
            """Gives the ids that were asked for just before, else ones of chance."""

            trace = 0
            span = 0

            def generate_span_id(self) -> int:
                """The next span's id."""
                found, self.span = self.span, 0
                return found or super().generate_span_id()

            def generate_trace_id(self) -> int:
                """The next trace's id."""
                found, self.trace = self.trace, 0
                return found or super().generate_trace_id()

        self._provider = provider
        self._ids = provider.id_generator = Ids()
        self._tracer = provider.get_tracer("moyai")

    def about(
        self,
        name: str,
        job: JobId,
        attempt: AttemptId | None = None,
        *,
        start_us: int,
        end_us: int,
        whole: bool = False,
        kind: "SpanKind | None" = None,
        figures: Mapping[str, Figure] | None = None,
        problem: str = "",
        links: "Sequence[SpanContext]" = (),
    ) -> None:
        """Add a span to a job's trace, below the job or one attempt at it. Times are µs since 1970.

        `whole`: it is the span of the attempt's, or the job's, whole life, below which the others stand.
        """
        from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context

        trace = trace_of(job)
        parent = span_of(job) if attempt is None else span_of(attempt)
        context = None
        if whole:
            self._ids.span = parent
            parent = span_of(job) if attempt is not None else 0
        if parent:
            context = set_span_in_context(self._remembered(trace, parent))
        else:
            self._ids.trace = trace
        told: dict[str, Figure] = {"moyai.job": job, **({"moyai.attempt": attempt} if attempt else {})}
        span = self._tracer.start_span(
            name,
            context,
            kind or SpanKind.INTERNAL,
            {**told, **(figures or {})},
            [Link(one) for one in links],
            start_time=start_us * 1_000,
        )
        self._ids.span = self._ids.trace = 0  # a sampler that drops the span asks for no id
        if problem:
            span.set_status(Status(StatusCode.ERROR, problem))
        span.end(max(start_us, end_us) * 1_000)

    def _remembered(self, trace: int, span: int) -> "Span":
        """A span that somebody else makes, or made; sampled as the sampler says of every span of that trace."""
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

        taken = self._provider.sampler.should_sample(None, trace, "job").decision.is_sampled()
        flags = TraceFlags(TraceFlags.SAMPLED if taken else TraceFlags.DEFAULT)
        return NonRecordingSpan(SpanContext(trace, span, is_remote=True, trace_flags=flags))

    def of_job(self, job: JobId) -> "SpanContext":
        """What a link to a job's trace names."""
        return self._remembered(trace_of(job), span_of(job)).get_span_context()

    def request(
        self,
        name: str,
        kind: "SpanKind",
        carried: Mapping[str, str] | None = None,
        figures: Mapping[str, Figure] | None = None,
    ) -> "Span":
        """A span of a request under way; the caller ends it. `carried`: headers that may hold its parent."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(dict(carried)) if carried else None
        return self._tracer.start_span(name, parent, kind, dict(figures or {}))

    async def close(self) -> None:
        """Send what is left, within bounds. Waits in a thread of its own, which never holds the process back."""
        import asyncio

        thread = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        thread.start()
        loop = asyncio.get_running_loop()
        end = loop.time() + CLOSE_S
        while thread.is_alive() and loop.time() < end:
            await asyncio.sleep(0.02)


def carry(span: "Span") -> str:
    """The `traceparent` that names `span`."""
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, set_span_in_context(span))
    return headers.get("traceparent", "")
