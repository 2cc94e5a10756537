"""What a cluster's nodes amount to, and what they can never hold."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.site import launch
from moyai.agent.engines.ray.nodes import MARK, Cluster
from moyai.agent.engines.ray.rest import RayNode
from moyai.model.commands import Launch
from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import Flavor, SiteProfile
from moyai.model.workload import Need

GIB = 1 << 30
CPU = Flavor(FlavorName("cpu"), 4, 2, 4 * GIB)
GPU = Flavor(FlavorName("h100"), 2, 8, 16 * GIB, "H100", 4)


def profile(*flavors: Flavor) -> SiteProfile:
    return SiteProfile(SiteName("osaka"), "ray", "JP", 0, 0, flavors, 0, 0)


def node(cpus: float, gpus: float = 0, memory: float = 64 * GIB, *, state: str = "ALIVE", **more: float) -> RayNode:
    return RayNode("n", state, "10.0.0.1", False, {"CPU": cpus, "GPU": gpus, "memory": memory, **more})


def counts(cluster: Cluster) -> dict[str, int]:
    return {flavor.name: flavor.count for flavor in cluster.capacity()}


def asking(cores: int = 1, accelerators: int = 0, *, nodes: int = 1, flavor: str = "cpu", memory: int = 0) -> Launch:
    need = Need(cores, memory, "H100" if accelerators else "", accelerators)
    return replace(launch("a.1", nodes=nodes), need=need, flavor=FlavorName(flavor))


def test_each_flavor_gets_what_fits_the_big_ones_first() -> None:
    cluster = Cluster(profile(CPU, GPU), {}, [node(8, 4), node(5), node(64, state="DEAD")])
    assert counts(cluster) == {"cpu": 2, "h100": 1}


def test_no_more_than_the_profile_says() -> None:
    assert counts(Cluster(profile(CPU), {}, [node(64)])) == {"cpu": 4}


def test_memory_that_ray_does_not_have_is_no_node() -> None:
    assert counts(Cluster(profile(CPU), {}, [node(8, memory=3 * GIB)])) == {"cpu": 0}


def test_a_resource_of_its_own_stands_for_an_accelerator() -> None:
    cluster = Cluster(profile(GPU), {"H100": "npu"}, [node(8, 0, npu=4), node(8, 4)])
    assert counts(cluster) == {"h100": 1}
    assert cluster.amounts(Need(8, 0, "H100", 2), "h100") == {"CPU": 8, "npu": 2}


def test_rays_mark_of_a_type_is_heeded_where_it_is() -> None:
    cluster = Cluster(profile(GPU), {}, [node(8, 4, **{"accelerator_type:H100": 1}), node(8, 4)])
    assert counts(cluster) == {"h100": 1}
    assert cluster.amounts(Need(8, 0, "H100", 4), "h100")["accelerator_type:H100"] == MARK


def test_a_resource_named_like_a_flavor_says_which_nodes_are_meant() -> None:
    cluster = Cluster(profile(CPU), {}, [node(8), node(8, cpu=1)])
    assert counts(cluster) == {"cpu": 4}
    assert cluster.amounts(Need(1), "cpu") == {"CPU": 1, "cpu": MARK}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (asking(99), "no node of the Ray cluster has 99 CPU: the most is 8 CPU"),
        (asking(1, 99), "no node of the Ray cluster has 99 GPU: the most is 4 GPU"),
        (asking(memory=200 * GIB), "no node of the Ray cluster has 200.0 GiB of memory: the most is 64.0 GiB"),
        (asking(5, 4), "no node of the Ray cluster has 5 CPU and 4 GPU together"),
        (asking(nodes=13), "the Ray cluster has room for 12 of its 13 ranks"),
        (asking(4, 2, nodes=3, flavor="h100"), "the Ray cluster has room for 1 of its 3 ranks"),
    ],
)
def test_what_can_never_run_is_said(wanted: Launch, message: str) -> None:
    cluster = Cluster(profile(CPU, GPU), {}, [node(8), node(4, 4)])
    assert cluster.impossible(wanted).startswith(message)
    assert cluster.impossible(asking(nodes=12)) == ""


def test_nothing_is_impossible_while_no_node_is_known() -> None:
    assert Cluster(profile(CPU), {}).impossible(asking(99)) == ""


def test_ranks_lie_apart_where_a_ray_node_is_one_of_the_flavor() -> None:
    assert Cluster(profile(CPU), {}, [node(2), node(3)]).spread(asking(nodes=2)) == "STRICT_SPREAD"
    assert Cluster(profile(CPU), {}, [node(2), node(4)]).spread(asking(nodes=2)) == "SPREAD"
    assert "2 of its 3" in Cluster(profile(CPU), {}, [node(2), node(3)]).impossible(asking(nodes=3))


@given(
    st.lists(st.tuples(st.integers(0, 64), st.integers(0, 8), st.integers(0, 64)), max_size=6),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 16), st.integers(0, 16), st.integers(0, 4)), max_size=3),
)
def test_what_is_told_fits_at_once(nodes: list[tuple[int, int, int]], flavors: list[tuple[int, int, int, int]]) -> None:
    made = [
        Flavor(FlavorName(f"f{i}"), count, cores, memory * GIB, "H100" if gpus else "", gpus)
        for i, (count, cores, memory, gpus) in enumerate(flavors)
    ]
    told = Cluster(profile(*made), {}, [node(c, g, m * GIB) for c, g, m in nodes]).capacity()
    assert [(f.name, f.cores) for f in told] == [(f.name, f.cores) for f in made]
    assert all(0 <= f.count <= wanted.count for f, wanted in zip(told, made, strict=True))
    assert sum(f.count * f.cores for f in told) <= sum(c for c, _, _ in nodes)
    assert sum(f.count * f.accelerators for f in told) <= sum(g for _, g, _ in nodes)
    assert sum(f.count * f.memory_bytes for f in told) <= sum(m * GIB for _, _, m in nodes)
