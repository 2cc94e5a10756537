"""Slurm fails under its jobs: nothing is lost, nothing runs twice."""

import asyncio
from collections.abc import Callable

from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster
from engines.slurm.site import SlurmSite, ended, order, run, said
from moyai.model.events import AttemptStarted, CapacityReported


async def test_a_job_of_higher_priority_takes_its_place(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    script = 'trap "echo told; exit 0" TERM; echo up; while :; do sleep 0.1; done'
    await run(control, order("p.1", nodes=2, cores=4), script)
    await control.until(lambda: site.output("p.1") == "up\n")
    cluster.say("sbatch", "-p", "urgent", "-n", "1", "-c", "4", "--mem=100M", "-o", "/dev/null", "--wrap", "sleep 1")
    end = await ended(control, "p.1")
    assert said(end)[:2] == ("stopped", "preempted"), site.log()
    assert [state for _, _, state in cluster.jobs("p.1")] == ["PREEMPTED"]


async def test_slurmrestd_may_be_down_while_jobs_run_and_end(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    await run(control, order("r.1"), "while [ ! -e go ]; do sleep 0.05; done; exit 7")
    await control.report("tokyo", AttemptStarted, "r.1")
    cluster.kill("slurmrestd")
    await run(control, order("r.2"), "echo ran")
    await control.until(lambda: "this is tried again" in site.log())
    (site.dir / "attempts/r.1/work/go").touch()
    await asyncio.sleep(2)
    cluster.start_rest()
    assert said(await ended(control, "r.1")) == ("failed", "exit", 7)
    assert said(await ended(control, "r.2")) == ("succeeded", "exit", 0)


async def test_the_commands_are_used_while_slurmrestd_is_down(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites(config=str(cluster.config)).start()
    await control.report("tokyo", CapacityReported)
    cluster.kill("slurmrestd")
    await run(control, order("o.1"), "echo ran")
    assert said(await ended(control, "o.1")) == ("succeeded", "exit", 0)
    assert "from now on by Slurm by its commands" in site.log()
    cluster.start_rest()
    await control.until(lambda: "from now on by Slurm at http://" in site.log())


async def test_nodes_that_are_drained_are_no_capacity(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    sites().start()
    first = await control.report("tokyo", CapacityReported)
    assert [flavor.count for flavor in first.flavors] == [2]
    cluster.say("scontrol", "update", f"nodename={cluster.name}-n1", "state=drain", "reason=test")
    try:
        counts = lambda: [r.flavors[0].count for r in control.site("tokyo").bodies(CapacityReported)]  # noqa: E731
        await control.until(lambda: counts() == [2, 1])
    finally:
        cluster.say("scontrol", "update", f"nodename={cluster.name}-n1", "state=resume")
    await control.until(lambda: counts() == [2, 1, 2])
