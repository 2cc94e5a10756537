"""The controller dies, and forgets; a node dies: nothing is lost, nothing runs twice. Slow, as Slurm's own waits are."""

from collections.abc import Callable, Iterator

import pytest

from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster, missing
from engines.slurm.site import SlurmSite, ended, order, run, said
from moyai.model.events import AttemptEnded, AttemptStarted, CapacityReported


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One for each test: it is not in order afterwards."""
    if why := missing():
        pytest.skip(f"no Slurm here: {why}")
    started = Cluster(once=True).up()
    yield started
    started.down()


async def test_the_controller_may_restart_under_what_runs(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    await run(control, order("c.1", nodes=2), "while [ ! -e go ]; do sleep 0.05; done")
    await control.report("tokyo", AttemptStarted, "c.1")
    cluster.kill("slurmctld", 15)
    await run(control, order("c.3"), "echo ran")
    (site.dir / "attempts/c.1/work/go").touch()
    assert said(await ended(control, "c.1")) == ("succeeded", "exit", 0)
    await control.until(lambda: "this is tried again" in site.log())
    cluster.start("slurmctld")
    # Slurm may hold the nodes of what ended meanwhile as completing for a minute.
    assert said(await ended(control, "c.3", timeout=120)) == ("succeeded", "exit", 0)
    assert site.output("c.3") == "ran\n"
    assert "works again" in site.log()


async def test_what_a_killed_controller_forgot_is_handed_over_again(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    site = sites().start()
    await control.report("tokyo", CapacityReported)
    cluster.say("scontrol", "update", f"nodename={cluster.name}-n[1-2]", "state=drain", "reason=test")
    kept = cluster.keep_state()
    await run(control, order("k.1"), "echo ran; sleep 0.5")
    await control.until(lambda: cluster.jobs("k.1"))
    cluster.forget_since(kept)
    assert not cluster.jobs("k.1"), "it was not forgotten"
    cluster.say("scontrol", "update", f"nodename={cluster.name}-n[1-2]", "state=resume", ok=False)
    assert said(await ended(control, "k.1")) == ("succeeded", "exit", 0), site.log()
    assert site.output("k.1") == "ran\n"
    assert len(control.site("tokyo").bodies(AttemptEnded)) == 1


async def test_what_runs_goes_on_when_a_killed_controller_forgot_it(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    control.lease_us = 8_000_000
    site = sites().start()
    await control.report("tokyo", CapacityReported)
    kept = cluster.keep_state()
    await run(control, order("f.1", grace_us=300_000), "echo up; sleep 5; echo done")
    await control.until(lambda: site.output("f.1") == "up\n")
    cluster.forget_since(kept)
    assert not cluster.jobs("f.1"), "it was not forgotten"
    end = await ended(control, "f.1", timeout=60)
    assert site.output("f.1").count("up") == 1
    assert said(end)[:2] in {("succeeded", "exit"), ("failed", "signal"), ("failed", "engine-forgot")}, site.log()


async def test_when_a_node_is_lost_its_attempt_ends_after_its_lease(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster
) -> None:
    control.lease_us = 6_000_000
    site = sites().start()
    await run(control, order("n.1", nodes=2, grace_us=500_000), "echo up; sleep 600")
    await control.report("tokyo", AttemptStarted, "n.1")
    node = f"{cluster.name}-n2"
    cluster.kill(node)
    end = await ended(control, "n.1", timeout=90)
    cluster.start("slurmd", "-N", node)
    assert end.outcome.value in ("failed", "stopped")
    assert end.reason.code.value in ("supervisor-lost", "lease-expired"), site.log()
