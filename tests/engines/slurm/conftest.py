"""One cluster for the tests of a module, and sites on it that leave nothing behind."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster, missing
from engines.slurm.site import SlurmSite, settings


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if why := missing():
        pytest.skip(f"no Slurm here: {why}")
    started = Cluster().up()
    yield started
    started.down()


@pytest.fixture
async def control() -> AsyncIterator[FakeControl]:
    async with FakeControl() as fake:
        yield fake


@pytest.fixture
def sites(tmp_path: Path, cluster: Cluster, control: FakeControl) -> Iterator[Callable[..., SlurmSite]]:
    """Makes sites; ends all of them, and what they left on the cluster."""
    made: list[SlurmSite] = []

    def make(name: str = "tokyo", **changes: object) -> SlurmSite:
        made.append(SlurmSite(tmp_path, name, control.address, settings(cluster, **changes)))
        return made[-1]

    yield make
    for site in made:
        site.close()
    if cluster.once:
        return
    numbers = [number for number, _, state in cluster.jobs() if state in ("PENDING", "RUNNING", "COMPLETING")]
    if numbers:
        cluster.say("scancel", "--signal=KILL", "--full", *numbers, ok=False)
        cluster.say("scancel", *numbers, ok=False)
    cluster.idle()
