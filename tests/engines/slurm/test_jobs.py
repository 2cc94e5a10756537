"""Jobs on a real Slurm cluster by slurmrestd: what runs, what it sees, how it ends."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster
from engines.slurm.site import SlurmSite, ended, order, run, said
from moyai.model.commands import Stop
from moyai.model.events import AttemptStarted
from moyai.model.exchange import AskKind
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason


async def test_a_job_runs_and_its_end_is_told(sites: Callable[..., SlurmSite], control: FakeControl) -> None:
    site = sites().start()
    await run(control, order("a.1"), "echo hello from $MOYAI_SITE; echo oops >&2; exit 0", env=(("WORD", "x y"),))
    end = await ended(control, "a.1")
    started = await control.report("tokyo", AttemptStarted, "a.1")
    assert said(end) == ("succeeded", "exit", 0), site.log() + site.engine_out("a.1")
    assert site.output("a.1") == "hello from tokyo\noops\n"
    assert end.output_bytes == len("hello from tokyo\noops\n")
    assert started.nodes[0].endswith(("-n1", "-n2"))
    assert end.run_us > 0


async def test_ends_are_told_as_they_were(sites: Callable[..., SlurmSite], control: FakeControl) -> None:
    sites().start()
    await run(control, order("e.1"), "exit 3")
    await run(control, order("e.2"), "kill -9 $$")
    await run(control, order("e.3"), "nosuchprogram")
    await run(control, order("e.4"), "sleep 30", setup="exit 9")
    await run(control, order("e.5", limit_us=1_000_000, grace_us=500_000), "sleep 60")
    assert said(await ended(control, "e.1")) == ("failed", "exit", 3)
    assert said(await ended(control, "e.2")) == ("failed", "signal", 9)
    assert said(await ended(control, "e.3")) == ("failed", "command-not-found", 127)
    assert said(await ended(control, "e.4")) == ("failed", "exit", 9)
    assert said(await ended(control, "e.5"))[:2] == ("stopped", "time-limit")


async def test_a_gang_runs_on_two_nodes_each_rank_with_its_devices(
    sites: Callable[..., SlurmSite], control: FakeControl
) -> None:
    site = sites().start()
    script = 'echo "$MOYAI_RANK of $MOYAI_NODES on $SLURMD_NODENAME sees $CUDA_VISIBLE_DEVICES as $MOYAI_NONCE"'
    await run(control, order("g.1", nodes=2, accelerators=2), script)
    end = await ended(control, "g.1")
    assert said(end) == ("succeeded", "exit", 0), site.log() + site.engine_out("g.1")
    first, second = site.output("g.1", 0).split(), site.output("g.1", 1).split()
    assert first[:3] + second[:3] == ["0", "of", "2", "1", "of", "2"]
    assert {first[4][-3:], second[4][-3:]} == {"-n1", "-n2"}
    assert first[6] == second[6] == "0,1"
    assert first[8] == second[8]
    assert len((await control.report("tokyo", AttemptStarted, "g.1")).nodes) == 2


async def test_ranks_that_share_a_node_share_its_devices_out(
    sites: Callable[..., SlurmSite], control: FakeControl
) -> None:
    site = sites().start()
    made = replace(order("s.1", nodes=2, accelerators=1), nodes=(0, 0))
    await run(control, made, "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES")
    assert said(await ended(control, "s.1")) == ("succeeded", "exit", 0), site.log() + site.engine_out("s.1")
    (node, one), (other, two) = site.output("s.1", 0).split(), site.output("s.1", 1).split()
    assert node == other
    assert {one, two} == {"0", "1"}


async def test_when_a_rank_fails_the_rest_has_its_grace_and_goes(
    sites: Callable[..., SlurmSite], control: FakeControl
) -> None:
    site = sites().start()
    fails = "until [ -e ready ]; do sleep 0.1; done; exit 4"
    waits = 'trap "echo told; exit 0" TERM; touch ready; while :; do sleep 0.1; done'
    script = f"if [ $MOYAI_RANK = 1 ]; then {fails}; else {waits}; fi"
    await run(control, order("f.1", nodes=2), script)
    end = await ended(control, "f.1")
    assert said(end) == ("failed", "exit", 4), site.log()
    assert end.reason.subject == "rank 1"
    assert site.output("f.1", 0).endswith("told\n")


async def test_output_is_bounded_and_read_while_it_runs(sites: Callable[..., SlurmSite], control: FakeControl) -> None:
    sites().start()
    await run(control, order("o.1"), "echo first; while [ ! -e go ]; do sleep 0.05; done; echo last")
    await control.report("tokyo", AttemptStarted, "o.1")

    async def printed() -> tuple[dict[str, str], bytes]:
        return await control.ask("tokyo", AskKind.OUTPUT, "o.1", file=0, offset=0, limit=1000)

    async with asyncio.timeout(20):
        while (await printed())[1] != b"first\n":
            await asyncio.sleep(0.1)
    headers, _ = await printed()
    assert headers["x-moyai-eof"] == "0"
    await control.command("tokyo", Stop(AttemptId("o.1"), Reason(Code.CANCELLED)))
    await ended(control, "o.1")
    headers, data = await printed()
    assert (data, headers["x-moyai-eof"]) == (b"first\n", "1")


async def test_what_can_never_run_is_refused_up_front(sites: Callable[..., SlurmSite], control: FakeControl) -> None:
    site = sites().start()
    cases = {
        "i.1": (order("i.1", cores=9), "9 cores of a node"),
        "i.2": (order("i.2", nodes=3), "asks for 3 nodes"),
        "i.3": (order("i.3", accelerators=3), "3 of gpu:h100"),
        "i.4": (order("i.4", memory_mib=1 << 20), "Requested node configuration is not available"),
    }
    for made, _ in cases.values():
        await run(control, made, "true")
    for attempt, (_, words) in cases.items():
        end = await ended(control, attempt)
        assert said(end)[:2] == ("failed", "launch-failed")
        assert words in end.reason.detail, site.log()


async def test_a_start_that_comes_again_runs_once(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    made = order("d.1")
    await run(control, made, "echo ran; sleep 1")
    await run(control, made, "echo ran; sleep 1")
    assert said(await ended(control, "d.1")) == ("succeeded", "exit", 0)
    await run(control, made, "echo ran")
    assert site.output("d.1") == "ran\n"
    assert len(cluster.jobs("d.1")) == 1
