"""Stops on a real Slurm cluster: in the queue, while it runs, against its will, and from outside."""

import asyncio
from collections.abc import Callable

from agent.desk import alive
from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster
from engines.slurm.site import SlurmSite, ended, order, run, said
from moyai.model.commands import Stop
from moyai.model.events import AttemptEnded, AttemptStarted
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason
from moyai.model.workload import OnPartition


async def stop(control: FakeControl, attempt: str) -> None:
    await control.command("tokyo", Stop(AttemptId(attempt), Reason(Code.CANCELLED, subject="ann")))


async def test_one_that_waits_in_the_queue_is_withdrawn(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    sites().start()
    await run(control, order("q.1", nodes=2, cores=4), "sleep 600")
    await control.report("tokyo", AttemptStarted, "q.1")
    await run(control, order("q.2", nodes=2, cores=4), "touch ran")
    await control.until(lambda: [state for _, _, state in cluster.jobs("q.2")] == ["PENDING"])
    await stop(control, "q.2")
    assert said(await ended(control, "q.2"))[:2] == ("stopped", "cancelled")
    await control.until(lambda: [state for _, _, state in cluster.jobs("q.2")] == ["CANCELLED"])
    await stop(control, "q.1")
    await ended(control, "q.1")


async def test_one_that_runs_has_its_signal_and_its_grace(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    script = 'trap "echo told; sleep 0.5; echo done; exit 0" TERM; echo up; while :; do sleep 0.1; done'
    await run(control, order("r.1"), script)
    await control.until(lambda: site.output("r.1") == "up\n")
    await stop(control, "r.1")
    end = await ended(control, "r.1")
    assert said(end)[:2] == ("stopped", "cancelled")
    assert end.reason.subject == "ann"
    assert site.output("r.1").endswith("told\ndone\n")
    assert end.run_us > 0


async def test_one_that_will_not_go_is_killed_with_all_it_started(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    script = (
        "trap '' TERM; setsid -f bash -c 'trap \"\" TERM; echo $$ > pid; exec sleep 600'; "
        "while [ ! -s pid ]; do sleep 0.05; done; echo up; while :; do sleep 0.1; done"
    )
    await run(control, order("k.1", grace_us=500_000), script)
    await control.until(lambda: site.output("k.1") == "up\n")
    pid = int((site.dir / "attempts/k.1/work/pid").read_text())
    await stop(control, "k.1")
    assert said(await ended(control, "k.1"))[:2] == ("stopped", "cancelled")
    assert not alive(pid)


async def test_a_whole_gang_goes(sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster) -> None:
    sites().start()
    await run(control, order("g.1", nodes=2), "sleep 600")
    await control.report("tokyo", AttemptStarted, "g.1")
    await stop(control, "g.1")
    assert said(await ended(control, "g.1"))[:2] == ("stopped", "cancelled")


async def test_what_slurms_own_people_cancel_ends_so(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    await run(control, order("c.1"), "echo up; sleep 600")
    await control.until(lambda: site.output("c.1") == "up\n")
    cluster.say("scancel", "--name=c.1")
    end = await ended(control, "c.1")
    assert said(end)[:2] == ("stopped", "cancelled")
    assert end.reason.subject == "Slurm"


async def test_one_that_waits_out_partitions_runs_without_a_lease_and_can_be_stopped(
    sites: Callable[..., SlurmSite], control: FakeControl
) -> None:
    control.lease_us = 2_000_000
    sites().start()
    await run(control, order("w.1", on_partition=OnPartition.WAIT), "sleep 600")
    await run(control, order("w.2"), "sleep 600")
    await control.report("tokyo", AttemptStarted, "w.1")
    await control.report("tokyo", AttemptStarted, "w.2")
    control.cut = True
    await asyncio.sleep(4)
    control.cut = False
    end = await ended(control, "w.2")
    assert said(end)[:2] == ("stopped", "lease-expired")
    assert not control.site("tokyo").bodies(AttemptEnded)[1:]
    await stop(control, "w.1")
    assert said(await ended(control, "w.1"))[:2] == ("stopped", "cancelled")
