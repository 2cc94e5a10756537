"""A cluster that is reached by its commands alone."""

from collections.abc import Callable

from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster
from engines.slurm.site import SlurmSite, ended, order, run, said
from moyai.agent.engines.slurm.commands import CommandLink
from moyai.model.commands import Stop
from moyai.model.events import AttemptStarted, CapacityReported
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason


def by_commands(sites: Callable[..., SlurmSite], cluster: Cluster) -> SlurmSite:
    return sites(rest="", jwt_key="", config=str(cluster.config)).start()


async def test_jobs_run_and_end_as_they_do_by_rest(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = by_commands(sites, cluster)
    assert (await control.report("tokyo", CapacityReported)).flavors[0].count == 2
    await run(control, order("a.1", nodes=2, accelerators=1), "echo $MOYAI_RANK $CUDA_VISIBLE_DEVICES")
    await run(control, order("a.2"), "exit 3")
    await run(control, order("a.3", memory_mib=1 << 20), "true")
    assert said(await ended(control, "a.1")) == ("succeeded", "exit", 0), site.log() + site.engine_out("a.1")
    assert said(await ended(control, "a.2")) == ("failed", "exit", 3)
    refused = await ended(control, "a.3")
    assert said(refused)[:2] == ("failed", "launch-failed")
    assert "Requested node configuration is not available" in refused.reason.detail
    assert site.output("a.1", 1) == "1 0\n"


async def test_stops_preemption_and_requeues(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = by_commands(sites, cluster)
    await run(control, order("s.1"), "sleep 600")
    await control.report("tokyo", AttemptStarted, "s.1")
    await control.command("tokyo", Stop(AttemptId("s.1"), Reason(Code.CANCELLED)))
    assert said(await ended(control, "s.1"))[:2] == ("stopped", "cancelled")
    await run(control, order("s.2", nodes=2, cores=4), 'trap "exit 0" TERM; echo up; while :; do sleep 0.1; done')
    await control.until(lambda: site.output("s.2") == "up\n")
    cluster.say("sbatch", "-p", "urgent", "-n", "1", "-c", "4", "--mem=100M", "-o", "/dev/null", "--wrap", "sleep 1")
    assert said(await ended(control, "s.2"))[:2] == ("stopped", "preempted"), site.log()


async def test_it_is_found_again_after_the_agent_was_killed(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = by_commands(sites, cluster)
    await run(control, order("k.1"), "while [ ! -e go ]; do sleep 0.05; done; exit 5")
    await control.report("tokyo", AttemptStarted, "k.1")
    site.kill()
    site.start()
    await control.until(lambda: len(control.site("tokyo").hellos) == 2)
    (site.dir / "attempts/k.1/work/go").touch()
    assert said(await ended(control, "k.1")) == ("failed", "exit", 5)
    assert len(cluster.jobs("k.1")) == 1


async def test_what_slurm_no_longer_has_is_remembered_by_its_own_books(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    by_commands(sites, cluster)
    await run(control, order("h.1"), "exit 3")
    await ended(control, "h.1")
    link = CommandLink(str(cluster.config), "root", "root")
    await control.until(lambda: [state for _, _, state in cluster.jobs("h.1")] == ["FAILED"])
    found = await link.history(["h.1", "nosuch.1"])
    assert [(job.name, job.state) for job in found] == [("h.1", "FAILED")]
