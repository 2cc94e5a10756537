"""A cluster that bounds jobs by cgroups: too much memory is told as that, and nothing escapes."""

from collections.abc import Iterator

import pytest

from agent.desk import alive
from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster, cgroups, missing
from engines.slurm.site import ended, order, run, said

EAT = "python3 -c 'x = bytearray(400 << 20); print(len(x))'"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if why := missing():
        pytest.skip(f"no Slurm here: {why}")
    if not cgroups():
        pytest.skip("no cgroups of version 1 that this user may make")
    started = Cluster(cgroup=True).up()
    yield started
    started.down()


async def test_a_job_that_takes_too_much_memory(sites, control: FakeControl) -> None:
    site = sites().start()
    await run(control, order("m.1", memory_mib=100), EAT)
    await run(control, order("m.2", nodes=2, memory_mib=100), f"if [ $MOYAI_RANK = 1 ]; then {EAT}; else sleep 60; fi")
    for attempt in ("m.1", "m.2"):
        end = await ended(control, attempt)
        assert said(end)[:2] == ("failed", "out-of-memory"), site.log() + site.engine_out(attempt)


async def test_what_a_rank_hides_dies_with_it(sites, control: FakeControl) -> None:
    site = sites().start()
    await run(control, order("h.1"), "setsid -f env -i sleep 600; sleep 0.2; pgrep -n -x -f 'sleep 600'")
    assert said(await ended(control, "h.1")) == ("succeeded", "exit", 0)
    assert not alive(int(site.output("h.1")))
