"""Traces of real servers and agents, as a collector gets them by OTLP over HTTP."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from moyai.model.trace import span_of, trace_of
from server.process import Server

pytest.importorskip("opentelemetry.sdk", reason="moyai[otel] is not installed")

THEIRS = "0af7651916cd43dd8448eb211c80319c"
THEIR_SPAN = "b7ad6b7169203331"


@dataclass(frozen=True)
class Got:
    """A span as it came."""

    service: str
    name: str
    trace: int
    span: int
    parent: int
    attributes: dict[str, Any]
    links: tuple[tuple[int, int], ...]
    failed: bool


class Collector:
    """A small receiver of OTLP over HTTP."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.spans: list[Got] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    data = gzip.decompress(data)
                assert self.path == "/v1/traces"
                collector.take(ExportTraceServiceRequest.FromString(data))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def take(self, request: Any) -> None:
        for of_resource in request.resource_spans:
            about = {a.key: a.value.string_value for a in of_resource.resource.attributes}
            for scope in of_resource.scope_spans:
                for s in scope.spans:
                    self.spans.append(
                        Got(
                            about["service.name"],
                            s.name,
                            int.from_bytes(s.trace_id),
                            int.from_bytes(s.span_id),
                            int.from_bytes(s.parent_span_id),
                            {a.key: a.value for a in s.attributes},
                            tuple((int.from_bytes(x.trace_id), int.from_bytes(x.span_id)) for x in s.links),
                            s.status.code == 2,
                        )
                    )

    def of(self, job: str) -> dict[str, list[Got]]:
        """The spans of a job's trace, by their names."""
        found: dict[str, list[Got]] = defaultdict(list)
        for span in self.spans:
            if span.trace == trace_of(job):  # type: ignore[arg-type]
                found[span.name].append(span)
        return found

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    yield made
    made.close()


def test_a_job_from_the_request_to_the_report(server: Server, collector: Collector) -> None:
    server.start(joined=True)
    answer = server.client.post(
        "/v1/jobs",
        json={"spec": {"name": "traced", "run": "true"}},
        headers={"traceparent": f"00-{THEIRS}-{THEIR_SPAN}-01"},
    )
    job = answer.json()["job"]
    server.ended(job)
    attempt = f"{job}.1"
    wanted = {
        "request", "event JobSubmitted", "event AttemptIssued", "command Launch", "claim", "start",
        "event AttemptStarted", "run", "report AttemptEnded", "event AttemptEnded", "event JobEnded", "attempt", "job",
    }  # fmt: skip
    server.until(lambda: wanted <= set(collector.of(job)))
    found = collector.of(job)
    (root,) = found["job"]
    assert (root.span, root.parent, root.service) == (span_of(job), 0, "moyai-control")
    (tried,) = found["attempt"]
    assert (tried.span, tried.parent) == (span_of(attempt), root.span)  # type: ignore[arg-type]
    for name in ("command Launch", "claim", "start", "run", "report AttemptEnded"):
        assert {(s.service, s.parent) for s in found[name]} == {("moyai-agent", tried.span)}, name
    for name in ("event AttemptIssued", "event AttemptStarted", "event AttemptEnded"):
        assert {(s.service, s.parent) for s in found[name]} == {("moyai-control", tried.span)}, name
    # The person's own trace goes on in ours, and each names the other.
    (asked,) = [s for s in collector.spans if s.name == "POST /v1/jobs"]
    assert (asked.trace, asked.parent) == (int(THEIRS, 16), int(THEIR_SPAN, 16))
    assert asked.links == ((root.trace, root.span),)
    assert found["request"][0].links == ((asked.trace, asked.span),)
    # A request of the exchange is one trace at both of its ends.
    (command,) = found["command Launch"]
    polls = {(s.trace, s.span): s for s in collector.spans if s.name == "exchange commands"}
    poll = polls[command.links[0]]
    served = [s for s in collector.spans if s.trace == poll.trace and s.service == "moyai-control"]
    assert [s.parent for s in served] == [poll.span]
    assert served[0].name == "GET /v1/exchange/{site}/commands"
    assert not [s for s in collector.spans if job in s.name]


def test_a_job_that_fails(server: Server, collector: Collector) -> None:
    server.start(joined=True)
    job = server.submit("exit 3", retries=0)["job"]
    server.ended(job)
    server.until(lambda: {"job", "attempt", "run"} <= set(collector.of(job)))
    assert all(collector.of(job)[name][0].failed for name in ("job", "attempt", "run"))


def test_nobody_there_to_take_them(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    server.start(joined=True)
    job = server.submit("true")["job"]
    assert server.ended(job)["state"] == "succeeded"
    assert server.stop() == 0


def test_without_the_variables_nothing_of_it_is_loaded() -> None:
    import subprocess
    import sys

    code = "import sys, moyai.server.start, moyai.server.serving, moyai.agent.shell, moyai.agent.tracing; print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
