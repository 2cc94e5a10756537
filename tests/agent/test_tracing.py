"""What a job's trace is made of: ids that follow from its own, whoever adds a span, and the sampler's one word."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.model.ids import AttemptId, JobId
from moyai.model.trace import span_of, trace_of

pytest.importorskip("opentelemetry.sdk", reason="moyai[otel] is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBasedTraceIdRatio, Sampler
from opentelemetry.trace import SpanKind

from moyai.agent.tracing import Traces, carry, open_traces, wanted

JOB, ATTEMPT = JobId("j-1"), AttemptId("j-1.2")


def traced(sampler: Sampler | None = None) -> tuple[Traces, InMemorySpanExporter]:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    kept = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return Traces(provider), kept


@given(st.text(min_size=1))
def test_ids_are_of_their_size_and_never_nothing(name: str) -> None:
    assert 0 < trace_of(JobId(name)) < 1 << 128
    assert 0 < span_of(JobId(name)) < 1 << 64


def test_ids_stay_the_same_for_good() -> None:
    digest = hashlib.sha256(b"moyai trace j-1").digest()
    assert trace_of(JOB) == int.from_bytes(digest[:16])
    assert span_of(JOB) != span_of(ATTEMPT)


def test_two_processes_make_one_trace() -> None:
    (one, at_control), (other, at_agent) = traced(), traced()
    other.about("run", JOB, ATTEMPT, start_us=2, end_us=3)
    one.about("attempt", JOB, ATTEMPT, start_us=1, end_us=4, whole=True)
    one.about("job", JOB, start_us=0, end_us=5, whole=True, problem="exit")
    run, (attempt, job) = at_agent.get_finished_spans()[0], at_control.get_finished_spans()
    assert {span.context.trace_id for span in (run, attempt, job)} == {trace_of(JOB)}
    assert job.parent is None
    assert (run.parent.span_id, attempt.parent.span_id) == (attempt.context.span_id, job.context.span_id)
    assert (job.start_time, job.end_time, job.status.is_ok) == (0, 5_000, False)
    assert run.attributes == {"moyai.job": JOB, "moyai.attempt": ATTEMPT}


def test_a_span_after_it_has_an_id_of_its_own() -> None:
    traces, kept = traced()
    traces.about("job", JOB, start_us=0, end_us=1, whole=True)
    traces.request("GET", SpanKind.SERVER).end()
    job, request = kept.get_finished_spans()
    assert request.context.trace_id != job.context.trace_id
    assert request.context.span_id != job.context.span_id


@pytest.mark.parametrize("number", range(20))
def test_a_trace_is_taken_whole_or_not_at_all(number: int) -> None:
    traces, kept = traced(ParentBasedTraceIdRatio(0.5))
    job, attempt = JobId(f"j-{number}"), AttemptId(f"j-{number}.1")
    traces.about("run", job, attempt, start_us=0, end_us=1)
    traces.about("attempt", job, attempt, start_us=0, end_us=1, whole=True)
    traces.about("job", job, start_us=0, end_us=1, whole=True)
    assert len(kept.get_finished_spans()) in (0, 3)


def test_a_sampler_that_takes_nothing() -> None:
    traces, kept = traced(ALWAYS_OFF)
    traces.about("job", JOB, start_us=0, end_us=1, whole=True)
    assert not kept.get_finished_spans()
    flags = int(carry(traces.request("POST", SpanKind.CLIENT))[-2:], 16)
    assert not flags & 1


def test_a_request_goes_on_in_the_trace_that_it_carries() -> None:
    traces, kept = traced()
    client = traces.request("exchange events", SpanKind.CLIENT)
    served = traces.request("POST", SpanKind.SERVER, {"traceparent": carry(client)})
    served.end()
    client.end()
    inner, outer = kept.get_finished_spans()
    assert inner.parent.span_id == outer.context.span_id
    assert inner.context.trace_id == outer.context.trace_id
    lost = traces.request("POST", SpanKind.SERVER, {"traceparent": "garbage"})
    assert lost.get_span_context().trace_id != outer.context.trace_id


@pytest.mark.parametrize(
    ("env", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
    ],
)
def test_who_asks_for_traces(env: dict[str, str], asked: bool) -> None:
    assert wanted(env) is asked
    if not asked:
        assert open_traces("moyai-agent", {}, env) is None
