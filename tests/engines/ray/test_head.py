"""The head of a Ray cluster is lost, with everything that it knew."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.desk import alive
from agent.fake_control import FakeControl
from agent.site import launch, text
from engines.ray.clusters import RayCluster, find_ray
from engines.ray.site import RaySite, settings
from moyai.model.events import AttemptEnded, Outcome
from moyai.model.reasons import Code

WAIT_S = 150


@pytest.fixture
def alone() -> Iterator[RayCluster]:
    """A cluster of one node for the test alone."""
    if not find_ray():
        pytest.skip("there is no program 'ray': set MOYAI_RAY to it, or run `make ray`")
    made = RayCluster(1, 2, 0, {"npu": 2})
    try:
        yield made.up()
    finally:
        made.close()


async def test_what_runs_goes_on_without_a_head(tmp_path: Path, alone: RayCluster) -> None:
    async with FakeControl(lease_us=10_000_000) as control:
        site = RaySite(tmp_path, "osaka", control.address, settings(alone), 1)
        site.start()
        try:
            go, ran = tmp_path / "go", tmp_path / "ran"
            script = f"echo $$ >>{ran}; (until test -e {go}; do sleep .1; done); exit 3"
            for name in ("a.1", "b.1"):
                await control.command("osaka", launch(name), text(script))
            await control.until(lambda: ran.exists() and len(ran.read_text().split()) == 2, WAIT_S)
            first, second = (int(pid) for pid in ran.read_text().split())
            alone.kill()
            await asyncio.sleep(12)  # longer than a lease
            assert alive(first)
            assert alive(second)
            go.touch()
            ends = [await control.report("osaka", AttemptEnded, name, WAIT_S) for name in ("a.1", "b.1")]
            assert [(end.outcome, end.reason.found) for end in ends] == [(Outcome.FAILED, 3)] * 2
            assert len(ran.read_text().split()) == 2
        finally:
            site.close()


async def test_what_died_with_its_head_is_told_once_no_guard_can_live(tmp_path: Path, alone: RayCluster) -> None:
    async with FakeControl(lease_us=15_000_000) as control:
        site = RaySite(tmp_path, "osaka", control.address, settings(alone), 1)
        site.start()
        try:
            ran = tmp_path / "ran"
            await control.command("osaka", launch("a.1"), text(f"echo $$ >>{ran}; sleep 1000"))
            await control.until(lambda: ran.exists() and ran.read_text().strip(), WAIT_S)
            alone.kill()
            alone.down()  # and all it ran
            await control.command("osaka", launch("b.1"), text("echo later"))
            alone.up()
            end = await control.report("osaka", AttemptEnded, "a.1", WAIT_S)
            assert (end.outcome, end.reason.code) == (Outcome.FAILED, Code.ENGINE_FORGOT)
            assert len(ran.read_text().split()) == 1
            assert (await control.report("osaka", AttemptEnded, "b.1", WAIT_S)).outcome is Outcome.SUCCEEDED
        finally:
            site.close()
