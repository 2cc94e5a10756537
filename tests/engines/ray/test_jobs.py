"""Attempts on a real Ray cluster, by a real agent: how they run, and how they end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from agent.fake_control import FakeControl
from agent.site import launch, text
from engines.ray.clusters import RayCluster
from engines.ray.site import RaySite, settings
from moyai.agent.engines.ray.rest import Entry, RayRest
from moyai.model.commands import Launch, Stop
from moyai.model.events import AttemptEnded, AttemptStarted, Outcome
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason
from moyai.model.workload import Need

WAIT_S = 120
CANCELLED = Reason(Code.CANCELLED, subject="ann")
Ended = Callable[[str], Awaitable[AttemptEnded]]


@pytest.fixture
async def control() -> AsyncIterator[FakeControl]:
    async with FakeControl() as made:
        yield made


@pytest.fixture
async def site(tmp_path: Path, cluster: RayCluster, control: FakeControl) -> AsyncIterator[RaySite]:
    made = RaySite(tmp_path, "osaka", control.address, settings(cluster))
    yield made.start()
    made.close()


@pytest.fixture
def ended(control: FakeControl, site: RaySite) -> Ended:
    """Waits for the end of an attempt."""

    async def wait(attempt: str) -> AttemptEnded:
        found = []

        def look() -> bool:
            assert site.alive(), "the agent is gone"
            found[:] = [end for end in control.site("osaka").bodies(AttemptEnded) if end.attempt == attempt]
            return bool(found)

        await control.until(look, WAIT_S)
        return found[0]

    return wait


@pytest.fixture
async def api(cluster: RayCluster) -> AsyncIterator[RayRest]:
    """The cluster itself."""
    made = RayRest(cluster.address, str(cluster.token))
    yield made
    await made.close()


@pytest.fixture
def job() -> str:
    """An id that no other test uses in the cluster."""
    return f"job-{uuid4().hex[:8]}"


def wide(attempt: str, cores: int = 1, npus: int = 0, *, nodes: int = 1, grace_us: int = 2_000_000) -> Launch:
    need = Need(cores, 0, "NPU" if npus else "", npus)
    return replace(launch(attempt, nodes=nodes, grace_us=grace_us), need=need)


async def until_output(control: FakeControl, site: RaySite, attempt: str, said: str, rank: int = 0) -> None:
    await control.until(lambda: said in site.output(attempt, rank), WAIT_S)


async def test_jobs_run_side_by_side_and_end_in_their_ways(
    control: FakeControl, site: RaySite, ended: Ended, job: str
) -> None:
    script = 'echo "$MOYAI_ATTEMPT $MOYAI_RANK $MOYAI_NODES"; test -n "$RAY_ADDRESS"; echo code $?'
    words = [script, "exit 3", "kill -9 $$", "exec /no/such/program"]
    for n, line in enumerate(words, 1):
        await control.command("osaka", launch(f"{job}{n}.1"), text(line))
    ends = [await ended(f"{job}{n}.1") for n in range(1, 5)]
    assert [(end.outcome, end.reason.code, end.reason.found) for end in ends] == [
        (Outcome.SUCCEEDED, Code.EXIT, 0),
        (Outcome.FAILED, Code.EXIT, 3),
        (Outcome.FAILED, Code.SIGNAL, 9),
        (Outcome.FAILED, Code.COMMAND_NOT_FOUND, 127),
    ]
    assert site.output(f"{job}1.1") == f"{job}1.1 0 1\ncode 0\n"
    assert await control.report("osaka", AttemptStarted, f"{job}1.1")


async def test_a_gang_runs_once_on_each_of_two_nodes(
    control: FakeControl, site: RaySite, ended: Ended, job: str
) -> None:
    script = 'echo "$MOYAI_RANK on $RAY_RAYLET_PID" >here.$MOYAI_RANK; until test -e here.0 -a -e here.1; do sleep .1; done; cat here.*'
    await control.command("osaka", wide(f"{job}.1", 2, 2, nodes=2), text(script))
    end = await ended(f"{job}.1")
    assert (end.outcome, end.reason.code) == (Outcome.SUCCEEDED, Code.EXIT)
    first, second = site.output(f"{job}.1", 0).split("\n")[:2]
    assert (first[:5], second[:5]) == ("0 on ", "1 on ")
    assert first[5:] != second[5:]  # not under the same raylet
    assert site.output(f"{job}.1", 1) == site.output(f"{job}.1", 0)


async def test_where_a_rank_fails_the_gang_ends(control: FakeControl, site: RaySite, ended: Ended, job: str) -> None:
    fails = "until test -e ready; do sleep .1; done; exit 5"
    waits = "trap 'echo stopped; exit' TERM; touch ready; while :; do sleep .1; done"
    script = f"if test $MOYAI_RANK = 1; then {fails}; else {waits}; fi"
    await control.command("osaka", wide(f"{job}.1", nodes=2), text(script))
    end = await ended(f"{job}.1")
    assert (end.outcome, end.reason) == (Outcome.FAILED, Reason(Code.EXIT, subject="rank 1", found=5))
    assert "stopped\n" in site.output(f"{job}.1", 0)


async def test_a_stop_has_its_grace(control: FakeControl, site: RaySite, ended: Ended, job: str, api: RayRest) -> None:
    script = "trap 'sleep 4; echo saved; exit 0' TERM; echo ready; while :; do sleep .1; done"
    for n, nodes in enumerate((1, 2), 1):
        await control.command("osaka", wide(f"{job}{n}.1", nodes=nodes, grace_us=60_000_000), text(script))
        await until_output(control, site, f"{job}{n}.1", "ready", nodes - 1)
        await control.command("osaka", Stop(AttemptId(f"{job}{n}.1"), CANCELLED))
        end = await ended(f"{job}{n}.1")
        assert end.outcome in (Outcome.STOPPED, Outcome.SUCCEEDED)
        assert site.output(f"{job}{n}.1", nodes - 1).endswith("\nsaved\n")  # later than Ray alone would wait
        await control.until(_over(api, f"{job}{n}.1"), WAIT_S)


def _over(api: RayRest, attempt: str) -> Callable[[], bool]:
    """Whether Ray says that a job is over; asked for in the background."""
    state = {"over": False}

    async def ask() -> None:
        while not state["over"]:
            told = await api.job(attempt)
            state["over"] = told is None or told.status in ("SUCCEEDED", "FAILED", "STOPPED")
            await asyncio.sleep(0.2)

    task = asyncio.get_running_loop().create_task(ask())
    return lambda: state["over"] and task.done()


async def test_what_does_not_heed_a_stop_is_killed(control: FakeControl, site: RaySite, ended: Ended, job: str) -> None:
    script = "trap '' TERM; echo ready; (setsid sleep 1000 &) ; while :; do sleep .1; done"
    await control.command("osaka", launch(f"{job}.1", grace_us=500_000), text(script))
    await until_output(control, site, f"{job}.1", "ready")
    await control.command("osaka", Stop(AttemptId(f"{job}.1"), CANCELLED))
    assert (await ended(f"{job}.1")).outcome is Outcome.STOPPED


async def test_one_that_waits_in_rays_queue_is_withdrawn(
    control: FakeControl, site: RaySite, ended: Ended, job: str, api: RayRest
) -> None:
    for n in (1, 2):  # both nodes are full
        await control.command("osaka", wide(f"{job}{n}.1", 2), text("echo ready; sleep 1000"))
        await until_output(control, site, f"{job}{n}.1", "ready")
    await control.command("osaka", wide(f"{job}3.1"), text("echo never"))
    while (told := await api.job(f"{job}3.1")) is None or told.status != "PENDING":
        await asyncio.sleep(0.1)
    for n in (3, 1, 2):
        await control.command("osaka", Stop(AttemptId(f"{job}{n}.1"), CANCELLED))
        assert (await ended(f"{job}{n}.1")).outcome is Outcome.STOPPED
    await control.until(_over(api, f"{job}3.1"), WAIT_S)
    assert site.output(f"{job}3.1") == ""


async def test_what_can_never_run_is_refused_up_front(
    control: FakeControl, site: RaySite, ended: Ended, job: str
) -> None:
    await control.command("osaka", wide(f"{job}1.1", 99), text("x"))
    await control.command("osaka", wide(f"{job}2.1", npus=3), text("x"))
    assert (await ended(f"{job}1.1")).reason.detail == "no node of the Ray cluster has 99 CPU: the most is 2 CPU"
    assert (await ended(f"{job}2.1")).reason.code is Code.LAUNCH_FAILED


async def test_a_job_of_that_name_that_is_not_ours_is_left_alone(
    control: FakeControl, site: RaySite, ended: Ended, job: str, api: RayRest
) -> None:
    assert await api.submit(Entry(f"{job}.1", "true"))
    assert not await api.submit(Entry(f"{job}.1", "true"))
    await control.command("osaka", launch(f"{job}.1"), text("echo ours"))
    end = await ended(f"{job}.1")
    assert (end.outcome, end.reason.code) == (Outcome.FAILED, Code.LAUNCH_FAILED)
    assert "another has a job" in end.reason.detail


async def test_one_that_is_stopped_in_ray_is_told(
    control: FakeControl, site: RaySite, ended: Ended, job: str, api: RayRest
) -> None:
    await control.command("osaka", launch(f"{job}.1"), text("echo ready; sleep 1000"))
    await until_output(control, site, f"{job}.1", "ready")
    assert await api.stop(f"{job}.1")
    end = await ended(f"{job}.1")
    assert (end.outcome, end.reason.code) == (Outcome.STOPPED, Code.CANCELLED)
    assert end.reason.detail == "it was stopped in Ray"


async def test_an_agent_that_is_killed_finds_its_jobs_again(
    control: FakeControl, site: RaySite, ended: Ended, job: str
) -> None:
    await control.command("osaka", launch(f"{job}1.1"), text("echo ready; sleep 8; echo done"))
    await control.command("osaka", launch(f"{job}2.1"), text("echo ready; sleep 1; exit 4"))
    for n in (1, 2):
        await until_output(control, site, f"{job}{n}.1", "ready")
    site.kill()
    await asyncio.sleep(2)
    site.start()
    assert ((await ended(f"{job}2.1")).reason.code, (await ended(f"{job}2.1")).reason.found) == (Code.EXIT, 4)
    assert (await ended(f"{job}1.1")).outcome is Outcome.SUCCEEDED
    assert site.output(f"{job}1.1") == "ready\ndone\n"  # it ran once


async def test_an_agent_that_is_killed_while_it_hands_over_hands_over_once(
    control: FakeControl, site: RaySite, ended: Ended, job: str, api: RayRest
) -> None:
    await control.command("osaka", launch(f"{job}.1"), text("echo ran"))
    while await api.job(f"{job}.1") is None:
        await asyncio.sleep(0.01)
    site.kill()
    site.start()
    assert (await ended(f"{job}.1")).outcome is Outcome.SUCCEEDED
    assert site.output(f"{job}.1") == "ran\n"


async def test_rays_own_gpus_are_shown_to_the_job(
    control: FakeControl, tmp_path: Path, cluster: RayCluster, job: str
) -> None:
    plain = replace(settings(cluster), accelerators=())
    site = RaySite(tmp_path, "kobe", control.address, plain).start()
    try:
        await control.command("kobe", wide(f"{job}1.1", npus=1), text('echo "gpu [$CUDA_VISIBLE_DEVICES]"'))
        await control.command("kobe", wide(f"{job}2.1", npus=1, nodes=2), text('echo "gpu [$CUDA_VISIBLE_DEVICES]"'))
        await control.report("kobe", AttemptEnded, f"{job}1.1", WAIT_S)
        await control.report("kobe", AttemptEnded, f"{job}2.1", WAIT_S)
        assert site.output(f"{job}1.1") == site.output(f"{job}2.1", 1) == "gpu [0]\n"
    finally:
        site.close()
