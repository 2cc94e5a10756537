"""What other users of a cluster hold is no capacity of ours."""

from collections.abc import Callable

import pytest

from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster
from engines.slurm.site import SlurmSite
from moyai.agent.engines.slurm.fit import counted, expand, foreign
from moyai.agent.engines.slurm.types import SlurmJob, SlurmNode
from moyai.model.events import CapacityReported
from moyai.model.ids import FlavorName
from moyai.model.site import Flavor


def held(nodes: str, cpus: int) -> SlurmJob:
    return SlurmJob("1", "theirs", "they", "RUNNING", "/", -1, nodes=nodes, cpus=cpus)


@pytest.mark.parametrize(
    ("short", "names"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("n[1-3,7],gate", ("n1", "n2", "n3", "n7", "gate")),
        ("a[08-10]-x,b2", ("a08-x", "a09-x", "a10-x", "b2")),
        ("n[oops]", ("n[oops]",)),
    ],
)
def test_a_short_list_of_nodes(short: str, names: tuple[str, ...]) -> None:
    assert expand(short) == names


def test_a_node_counts_where_a_whole_one_of_the_flavor_is_left() -> None:
    flavor = Flavor(FlavorName("cpu"), 3, 4, 1 << 30)
    nodes = [SlurmNode(f"n{i}", "mixed", ("batch",), (), "", 8, 4096) for i in (1, 2, 3)]
    assert foreign([held("n[1-2]", 9), held("n2", 1)]) == {"n1": 5, "n2": 6}
    for others, left in (({}, 3), ({"n1": 4}, 3), ({"n1": 5, "n2": 6}, 1), ({"other": 8}, 3)):
        assert counted([flavor], {"cpu": nodes}, others)[0].count == left


async def test_nodes_that_others_hold_are_no_capacity(
    cluster: Cluster, control: FakeControl, sites: Callable[..., SlurmSite]
) -> None:
    sites().start()
    await control.report("tokyo", CapacityReported)
    counts = lambda: [r.flavors[0].count for r in control.site("tokyo").bodies(CapacityReported)]  # noqa: E731
    await control.until(lambda: counts()[-1:] == [2])
    number = cluster.say("sbatch", "--parsable", "--exclusive", "--nodes=1", "--wrap=sleep 60").strip()
    try:
        await control.until(lambda: counts()[-1] == 1)
    finally:
        cluster.say("scancel", number)
    await control.until(lambda: counts()[-1] == 2)
