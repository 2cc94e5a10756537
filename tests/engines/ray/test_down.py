"""A Ray that can't be used: what the agent says, and that it goes on."""

import asyncio
import subprocess
import sys
from pathlib import Path

from agent.fake_control import FakeControl
from agent.site import launch, text
from engines.ray.fakehead import FakeHead
from engines.ray.site import RaySite
from moyai.model.commands import Stop
from moyai.model.engine import RaySettings
from moyai.model.events import AttemptEnded, Outcome
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason

NODES = b'{"data":{"result":{"result":[{"node_id":"n","state":"ALIVE","resources_total":{"CPU":2}}]}}}'


def started(site: RaySite) -> subprocess.CompletedProcess[str]:
    """Run an agent that can't start, to its end."""
    words = [sys.executable, "-m", "moyai.agent", "--dir", str(site.dir), "--profile", str(site.profile)]
    return subprocess.run([*words, "--control", site.control], capture_output=True, text=True, timeout=60)


async def test_another_major_version_is_no_engine(tmp_path: Path) -> None:
    async with FakeHead() as head:
        head.answers["/api/version"] = (200, b'{"ray_version":"3.1.0"}')
        site = RaySite(tmp_path, "osaka", "unix:/nowhere", RaySettings(head.address))
        done = await asyncio.to_thread(started, site)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"moyai agent: {head.address} is Ray 3.1.0; this Moyai knows Ray 2: use such a cluster"
    )


async def test_an_agent_waits_for_its_head_to_make_sense(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    async with FakeHead() as head, FakeControl() as control:
        submitted: list[bytes] = []

        def jobs(said: str, body: bytes) -> tuple[int, bytes]:
            if said != "Bearer new":
                return 403, b"Forbidden: Invalid authentication token"
            if body:
                submitted.append(body)
                return 200, b"{}"
            return 200, b"[]"

        head.answers["/api/v0/nodes"] = (200, b"<html>of somebody else</html>")
        head.answers["/api/jobs/"] = jobs
        site = RaySite(tmp_path, "osaka", control.address, RaySettings(head.address, str(token), poll_us=200_000))
        site.start()
        try:
            await control.command("osaka", launch("a.1"), text("x"))
            await control.command("osaka", launch("b.1"), text("x"))
            await control.until(lambda: site.log_has("makes no sense"))
            await control.command("osaka", Stop(AttemptId("b.1"), Reason(Code.CANCELLED)))
            assert (await control.report("osaka", AttemptEnded, "b.1")).outcome is Outcome.STOPPED
            head.answers["/api/v0/nodes"] = (200, NODES)
            await control.until(lambda: site.log_has(f"refuses the token ({token})"))
            token.write_text("new")
            await control.until(lambda: submitted)
            assert b'"submission_id":"a.1"' in submitted[0]
            assert site.alive()
        finally:
            site.close()
