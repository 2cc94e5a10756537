"""Who watches an agent: a real process, asked in its directory and at an address."""

import asyncio
import socket
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families as families

from agent.desk import until
from agent.fake_control import FakeControl
from agent.site import Site, launch, text
from moyai.agent import local
from moyai.model.events import AttemptStarted


def get(site: Site, path: str) -> str:
    """What the agent answers in its directory, as it is sent."""
    with local.connect(str(site.dir), "metrics.sock") as connection:
        connection.settimeout(20)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
        said = b""
        while data := connection.recv(65_536):
            said += data
    return said.decode()


def figures(site: Site) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every figure of the agent; those of its own carry its name."""
    head, _, body = get(site, "/metrics").partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200")
    found = {}
    for family in families(body):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert sample.name.startswith("process_") or labels.pop("site") == site.name, sample
            found[sample.name, frozenset(labels.items())] = sample.value
    return found


def one(site: Site, name: str, **labels: str) -> float:
    return figures(site)[name, frozenset(labels.items())]


async def test_an_agent_shows_its_lease_and_its_journal(sites: Callable[..., Site]) -> None:
    async with FakeControl() as control:
        site = sites("one", control.address).start()
        await control.until(lambda: control.site("one").renewals)
        await control.command("one", launch("j-1.1"), text("sleep 60"))
        await control.report("one", AttemptStarted)
        assert await asyncio.to_thread(one, site, "moyai_agent_joined") == 1
        assert 0 < await asyncio.to_thread(one, site, "moyai_agent_lease_left_seconds") <= 30
        assert await asyncio.to_thread(one, site, "moyai_agent_attempts", state="running") == 1
        assert await asyncio.to_thread(one, site, "moyai_journal_entries", kind="attempt") == 1
        assert await asyncio.to_thread(one, site, "moyai_agent_nodes", flavor="cpu") == 4
        assert (await asyncio.to_thread(get, site, "/healthz")).startswith("HTTP/1.1 200")
        assert (await asyncio.to_thread(get, site, "/v1/jobs")).startswith("HTTP/1.1 404")
        assert "j-1" not in await asyncio.to_thread(get, site, "/metrics")


async def test_cut_off_it_keeps_its_reports_and_says_that_it_has_no_lease(sites: Callable[..., Site]) -> None:
    async with FakeControl(lease_us=1_500_000) as control:
        site = sites("one", control.address).start()
        await control.until(lambda: control.site("one").renewals)
        control.cut = True
        await asyncio.to_thread(until, lambda: one(site, "moyai_agent_lease_left_seconds") == 0)
        assert "503" in (await asyncio.to_thread(get, site, "/healthz")).splitlines()[0]


async def test_at_an_address(sites: Callable[..., Site]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with FakeControl() as control:
        sites("one", control.address).start("--metrics", f"127.0.0.1:{port}")
        await control.until(lambda: control.site("one").renewals)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            assert "moyai_agent_joined" in (await http.get("/metrics")).text


def test_an_address_that_is_none(sites: Callable[..., Site]) -> None:
    site = sites("one", "unix:/nowhere").start("--metrics", "9100")
    assert site.process is not None
    assert site.process.wait(30) == 2
