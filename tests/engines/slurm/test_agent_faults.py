"""The agent is killed at the worst moments while its jobs are in Slurm; each runs once, and its end is told."""

import asyncio
from collections.abc import Callable

from agent.desk import alive
from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster
from engines.slurm.site import SlurmSite, ended, order, run, said
from moyai.model.events import AttemptEnded, AttemptStarted, CapacityReported


async def test_what_runs_goes_on_when_the_agent_is_killed(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    await run(control, order("a.1", nodes=2), "echo up $MOYAI_NONCE; while [ ! -e go ]; do sleep 0.05; done; exit 5")
    await control.report("tokyo", AttemptStarted, "a.1")
    site.kill()
    site.start()
    await control.until(lambda: len(control.site("tokyo").hellos) == 2)
    await asyncio.sleep(1)
    assert not control.site("tokyo").bodies(AttemptEnded)
    (site.dir / "attempts/a.1/work/go").touch()
    assert said(await ended(control, "a.1")) == ("failed", "exit", 5)
    assert site.output("a.1").count("up") == 1
    assert len(cluster.jobs("a.1")) == 1


async def test_an_end_while_the_agent_is_away_is_told_when_it_is_back(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    await run(control, order("b.1"), "sleep 1; echo done")
    await run(control, order("b.2"), "sleep 1; exit 6")
    await control.report("tokyo", AttemptStarted, "b.1")
    await control.report("tokyo", AttemptStarted, "b.2")
    site.kill()
    await control.until(lambda: {state for _, _, state in cluster.jobs()} == {"COMPLETED", "FAILED"})
    site.start()
    assert said(await ended(control, "b.1")) == ("succeeded", "exit", 0)
    assert said(await ended(control, "b.2")) == ("failed", "exit", 6)


async def test_one_in_the_queue_is_found_again_and_not_handed_over_twice(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    cluster.say("scontrol", "update", f"nodename={cluster.name}-n[1-2]", "state=drain", "reason=test")
    try:
        await run(control, order("c.1"), "echo ran")
        await control.until(lambda: cluster.jobs("c.1"))
        site.kill()
        site.start()
        await control.until(lambda: len(control.site("tokyo").hellos) == 2)
        await asyncio.sleep(1)
    finally:
        cluster.say("scontrol", "update", f"nodename={cluster.name}-n[1-2]", "state=resume")
    assert said(await ended(control, "c.1")) == ("succeeded", "exit", 0)
    assert len(cluster.jobs("c.1")) == 1


async def test_one_that_starts_while_the_agent_is_away_waits_for_it(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    await run(control, order("d.1", nodes=2, cores=4), "while [ ! -e go ]; do sleep 0.05; done")
    await control.report("tokyo", AttemptStarted, "d.1")
    await run(control, order("d.2", nodes=2, cores=4), "echo ran")
    await control.until(lambda: cluster.jobs("d.2"))
    site.kill()
    (site.dir / "attempts/d.1/work/go").touch()
    await control.until(lambda: [state for _, _, state in cluster.jobs("d.2")] == ["RUNNING"])
    await asyncio.sleep(1)
    assert site.output("d.2") == ""
    site.start()
    assert said(await ended(control, "d.2")) == ("succeeded", "exit", 0)
    assert site.output("d.2") == "ran\n"


async def test_without_its_agent_it_dies_with_its_lease(sites: Callable[..., SlurmSite], control: FakeControl) -> None:
    control.lease_us = 3_000_000
    site = sites().start()
    await run(control, order("l.1", grace_us=300_000), "echo $$ > pid; sleep 600")
    await control.report("tokyo", AttemptStarted, "l.1")
    pid = int((site.dir / "attempts/l.1/work/pid").read_text())
    site.kill()
    await control.until(lambda: not alive(pid), 10)
    site.start()
    assert said(await ended(control, "l.1"))[:2] == ("stopped", "lease-expired")


async def test_a_job_that_is_in_no_journal_is_ended(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites()
    work = site.dir / "attempts/z.1/work"
    work.mkdir(parents=True)
    words = ["sbatch", "--job-name=z.1", f"--chdir={work}", "--output=/dev/null", "--mem=100M", "--wrap=sleep 600"]
    cluster.say(*words)
    cluster.say(*[word.replace("z.1", "y.1") for word in words if not word.startswith("--chdir")], "--chdir=/tmp")
    site.start()
    await control.report("tokyo", CapacityReported)
    await control.until(lambda: [state for _, _, state in cluster.jobs("z.1")] == ["CANCELLED"])
    assert next(state for _, _, state in cluster.jobs("y.1")) in ("PENDING", "RUNNING")
