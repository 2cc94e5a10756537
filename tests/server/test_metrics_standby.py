"""A control plane that stands by says so to those who watch it, and goes on being watched when it leads."""

from collections.abc import Iterator

import httpx
import pytest

from moyai.agent.doctor.check import Verdict
from moyai.server.doctor import check_control
from server.pair import pair_of
from server.test_metrics import free_port, value
from store.pg import Postgres, running


@pytest.fixture(scope="module")
def pg() -> Iterator[Postgres]:
    with running() as server:
        yield server


def test_a_standby_and_its_turn(pg: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "en")
    ports = (free_port(), free_port())
    with pair_of(pg) as pair:
        leader = pair.start(0, "--metrics", f"127.0.0.1:{ports[0]}")
        other = pair.servers[1]
        other.spawn(
            "--store", pair.url, "--keys", str(pair.keys), "--fleet", str(pair.fleet),
            "--metrics", f"127.0.0.1:{ports[1]}",
        )  # fmt: skip
        with httpx.Client(base_url=f"http://127.0.0.1:{ports[1]}", trust_env=False, timeout=20) as http:

            def health() -> str:
                try:
                    return http.get("/healthz").text
                except httpx.TransportError:
                    return ""

            other.until(lambda: health().startswith("standby: "))
            text = http.get("/metrics").text
            assert value(text, "moyai_control_mode", mode="standby") == 1
            assert value(text, "moyai_log_events_total") > 0
            looked = check_control(other.root, pair.url)
            assert [check.name for check in looked if check.verdict is Verdict.BAD] == []
            assert next(check for check in looked if check.name == "log").what.startswith(
                "the log holds (postgresql://"
            )
            leader.kill()
            other.until(lambda: health() == "ok\n")
            text = http.get("/metrics").text
            assert value(text, "moyai_control_mode", mode="writing") == 1
            assert value(text, "moyai_control_epoch") == 2
