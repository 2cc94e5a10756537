"""The figures of the control plane, scraped from a real server as Prometheus does it."""

import socket

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from moyai.server.gauges import OTHER, Tenants
from server.process import Server


def scrape(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    return scrape(text)[name, frozenset(labels.items())]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_what_happens_is_counted(three: Server) -> None:
    jobs = [three.submit("true" if n else "exit 3")["job"] for n in range(3)]
    for job in jobs:
        three.ended(job)
    text = three.client.get("/metrics").text
    assert value(text, "moyai_jobs", state="succeeded") == 2
    assert value(text, "moyai_jobs", state="failed") == 1
    assert value(text, "moyai_jobs", state="pending") == 0
    assert value(text, "moyai_control_mode", mode="writing") == 1
    samples = scrape(text)
    ended = {labels: n for (name, labels), n in samples.items() if name == "moyai_attempts_ended_total"}
    assert sum(ended.values()) == 3
    assert value(text, "moyai_queue_wait_seconds_count") == 3
    assert value(text, "moyai_log_events_total") == three.get("/v1/health")["durable_seq"]
    assert value(text, "moyai_log_append_seconds_count") > 3
    assert value(text, "moyai_plan_seconds_count") == three.get("/v1/health")["plans"]
    for site in ("ishikari", "tokyo", "fukuoka"):
        assert value(text, "moyai_site_up", site=site) == 1
        assert value(text, "moyai_site_free_nodes", site=site, flavor="standard") == 4
        assert 0 < value(text, "moyai_site_lease_left_seconds", site=site) <= 4.1
    assert any(name == "moyai_exchange_lag_seconds_count" and n for (name, _), n in samples.items())


def test_no_label_is_a_job(three: Server) -> None:
    job = three.submit("true")["job"]
    three.ended(job)
    assert job not in three.client.get("/metrics").text


def test_what_waits_and_what_is_held(three: Server) -> None:
    for _ in range(14):
        three.submit("sleep 60", resources={"cpus": 4, "memory": "1GiB"})
    three.until(lambda: three.get("/v1/health")["attempts_running"] == 12)
    text = three.client.get("/metrics").text
    assert value(text, "moyai_jobs", state="pending") == 2
    assert value(text, "moyai_jobs", state="active") == 12
    assert value(text, "moyai_tenant_pending_jobs", tenant="local") == 2
    assert value(text, "moyai_oldest_pending_seconds") > 0
    assert value(text, "moyai_site_free_nodes", site="tokyo", flavor="standard") == 0
    assert value(text, "moyai_attempts", site="tokyo", state="running") == 4


def test_open_metrics_where_that_is_asked_for(shared: Server) -> None:
    answer = shared.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {f.name for f in open_families(answer.text)} >= {"moyai_jobs", "moyai_log_events", "process_cpu_seconds"}


def test_the_listener_serves_two_pages_and_nothing_else(server: Server) -> None:
    port = free_port()
    server.start("--metrics", f"127.0.0.1:{port}", joined=True)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        assert "moyai_site_up" in http.get("/metrics").text
        assert http.head("/metrics").content == b""
        healthy = http.get("/healthz")
        assert (healthy.status_code, healthy.text) == (200, "ok\n")
        assert http.get("/v1/jobs").status_code == 404
        assert http.post("/metrics").status_code == 405
    with socket.create_connection(("127.0.0.1", port)) as rude:
        rude.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert rude.recv(100).startswith(b"HTTP/1.1 400")
    with socket.create_connection(("127.0.0.1", port)) as long:
        long.sendall(b"GET /" + b"a" * 40_000)
        assert long.recv(100).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("said", ["9100", "127.0.0.1:0", "127.0.0.1:99999", ":9100", "::1:9100", "host:port"])
def test_no_address(server: Server, said: str) -> None:
    code, words = server.fails("--metrics", said)
    assert code == 2
    assert f"{said!r} is no HOST:PORT" in words


def test_an_address_that_is_taken(server: Server) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        code, words = server.fails("--metrics", f"127.0.0.1:{port}")
    assert code == 2
    assert f"--metrics 127.0.0.1:{port}: can't listen there (Address already in use)" in words


def test_tenants_are_bounded() -> None:
    tenants = Tenants(most=2)
    assert [tenants.name(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]  # type: ignore[arg-type]
