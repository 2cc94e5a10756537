"""Placements are feasible, found whenever there are any, the paper's, and the same every time."""

from collections.abc import Callable, Mapping
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.nodes.cluster import GPUS, WHOLE, Cluster, Placement, Request, fitting, place
from moyai.plan.nodes.fill import Table, fill
from moyai.plan.nodes.policies import Policy, best_fit, fgd, first_fit, gradient, random
from moyai.plan.nodes.reserve import Reserve
from moyai.plan.nodes.worth import Worth, mix_of, room, unfragmented
from plan.nodes.tiny import clusters, everywhere, fragmentation, holds, requests, used

counts = st.dictionaries(requests(), st.integers(1, 5), max_size=4)
NAMES = ("random", "first_fit", "best_fit", "fgd", "room", "fgd table", "room table", "reserve")


def policy(name: str, cluster: Cluster, mix: Mapping[Request, int]) -> Policy:
    expected = mix_of(mix, cluster.models)
    generator = np.random.default_rng(7)
    made: dict[str, Policy] = {
        "random": lambda c, r: random(c, r, generator),
        "first_fit": first_fit,
        "best_fit": best_fit,
        "fgd": lambda c, r: fgd(c, r, expected),
        "room": lambda c, r: gradient(c, r, expected, room),
        "fgd table": Table(expected, unfragmented),
        "room table": Table(expected, room),
        "reserve": Reserve(mix, cluster.models, expected, room),
    }
    return made[name]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(cluster=used(), request=requests(), mix=counts)
def test_a_placement_is_one_of_those_that_fit_and_none_only_where_none_fits(
    name: str, cluster: Cluster, request: Request, mix: Mapping[Request, int]
) -> None:
    possible = set(everywhere(cluster, request))
    chosen = policy(name, cluster, mix)(cluster, request)
    assert (chosen in possible) if possible else chosen is None
    assert set(np.flatnonzero(fitting(cluster, request)).tolist()) == {p.node for p in possible}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(cluster=clusters, coming=st.lists(requests(), max_size=25), mix=counts)
def test_nothing_is_given_twice_and_all_is_accounted_for(
    name: str, cluster: Cluster, coming: list[Request], mix: Mapping[Request, int]
) -> None:
    filled = fill(cluster, coming, policy(name, cluster, mix))
    cpu, memory, gpu = cluster.cpu_milli.copy(), cluster.memory_mib.copy(), cluster.gpu_milli.copy()
    for request, placement in zip(coming, filled.placements, strict=True):
        if placement is None:
            continue
        assert len(placement.gpus) == request.gpus
        assert not request.gpus or not request.models or cluster.models[cluster.model[placement.node]] in request.models
        cpu[placement.node] -= request.cpu_milli
        memory[placement.node] -= request.memory_mib
        for g in placement.gpus:
            gpu[placement.node, g] -= request.gpu_milli
    assert min(cpu.min(), memory.min(), gpu.min()) >= 0
    assert np.array_equal(cpu, filled.cluster.cpu_milli)
    assert np.array_equal(memory, filled.cluster.memory_mib)
    assert np.array_equal(gpu, filled.cluster.gpu_milli)
    assert filled.given_milli == cluster.gpu_milli.sum() - gpu.sum()
    assert filled.rejected == filled.placements.count(None)
    assert filled.rejected_without_gpu == sum(
        p is None and not r.gpus for r, p in zip(coming, filled.placements, strict=True)
    )
    assert filled.rejected_gangs == sum(
        p is None and r.gpus > 1 for r, p in zip(coming, filled.placements, strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(cluster=clusters, coming=st.lists(requests(), max_size=15), mix=counts)
def test_the_same_pods_are_placed_the_same_way(
    name: str, cluster: Cluster, coming: list[Request], mix: Mapping[Request, int]
) -> None:
    once, again = (fill(cluster, coming, policy(name, cluster, mix)).placements for _ in range(2))
    assert once == again


def literal(
    cluster: Cluster, request: Request, cost: Callable[[Cluster, int], int]
) -> tuple[Placement | None, dict[Placement, int]]:
    """The least increase of `cost`; then the fullest node, its lowest index, the fullest GPU, its lowest index."""
    increase = {
        p: cost(place(cluster, request, p), p.node) - cost(cluster, p.node) for p in everywhere(cluster, request)
    }

    def key(p: Placement) -> tuple[object, ...]:
        free = cluster.gpu_milli[p.node]
        fullness = (int(free.sum()), int(cluster.cpu_milli[p.node]), int(cluster.memory_mib[p.node]))
        return (increase[p], *fullness, p.node, [int(free[g]) for g in p.gpus], p.gpus)

    return min(increase, key=key, default=None), increase


@settings(max_examples=150, deadline=None)
@given(cluster=used(), request=requests(), mix=counts)
def test_fgd_is_the_formula_of_the_paper(cluster: Cluster, request: Request, mix: Mapping[Request, int]) -> None:
    def expected(now: Cluster, node: int) -> int:
        return sum(count * fragmentation(now, node, each) for each, count in mix.items())

    chosen, _ = literal(cluster, request, expected)
    assert fgd(cluster, request, mix_of(mix, cluster.models)) == chosen


@settings(max_examples=60, deadline=None)
@given(cluster=used(), request=requests(), mix=counts)
def test_room_counts_the_pods_that_a_node_still_holds(
    cluster: Cluster, request: Request, mix: Mapping[Request, int]
) -> None:
    def lost(now: Cluster, node: int) -> int:
        return -sum(count * isqrt(10**8 * holds(now, node, each)) for each, count in mix.items() if each.gpus)

    chosen, _ = literal(cluster, request, lost)
    assert gradient(cluster, request, mix_of(mix, cluster.models), room) == chosen


@pytest.mark.parametrize("worth", [unfragmented, room])
@settings(max_examples=25, deadline=None)
@given(cluster=clusters, coming=st.lists(requests(), max_size=25), mix=counts)
def test_a_table_remembers_without_changing_an_answer(
    worth: Worth, cluster: Cluster, coming: list[Request], mix: Mapping[Request, int]
) -> None:
    expected = mix_of(mix, cluster.models)
    plain = fill(cluster, coming, lambda c, r: gradient(c, r, expected, worth))
    table = Table(expected, worth)
    assert fill(cluster, coming, table).placements == plain.placements
    assert fill(cluster, coming, table).placements == plain.placements  # the cluster is empty again


@pytest.mark.parametrize("name", [n for n in NAMES if n != "random"])
@pytest.mark.parametrize("request_", [Request(1000, 10), Request(1000, 10, 1, 300), Request(1000, 10, 4, WHOLE)])
def test_of_equal_nodes_and_gpus_the_first_is_taken(name: str, request_: Request) -> None:
    cluster = Cluster.of([(8000, 100, 8, "A")] * 4)
    chosen = policy(name, cluster, {Request(1000, 10, 1, 500): 1})(cluster, request_)
    assert chosen == Placement(0, tuple(range(request_.gpus)))


def test_best_fit_keeps_the_emptiest_node_for_a_gang() -> None:
    cluster = Cluster.of([(8000, 100, 8, "A"), (8000, 100, 4, "A")])
    for _ in range(4):
        chosen = best_fit(cluster, Request(1000, 10, 1, WHOLE))
        assert chosen is not None
        assert chosen.node == 1
        cluster = place(cluster, Request(1000, 10, 1, WHOLE), chosen)
    assert best_fit(cluster, Request(1000, 10, 8, WHOLE)) == Placement(0, tuple(range(8)))


def test_chance_reaches_every_node_and_gpu() -> None:
    cluster = Cluster.of([(8000, 100, 2, "A")] * 3)
    generator = np.random.default_rng(0)
    seen = {random(cluster, Request(0, 0, 1, 500), generator) for _ in range(200)}
    assert seen == {Placement(node, (gpu,)) for node in range(3) for gpu in range(2)}


@pytest.mark.parametrize(
    "fields",
    [(-1, 0), (0, -1), (0, 0, 1, 0), (0, 0, 0, 5), (0, 0, 2, 500), (0, 0, GPUS + 1, WHOLE), (0, 0, 1, WHOLE + 1)],
)
def test_a_request_that_makes_no_sense_is_refused(fields: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"pod|share|thousandths"):
        Request(*fields)


@pytest.mark.parametrize("node", [(1000, 1, 9, "A"), (1000, 1, 1, ""), (1000, 1, 0, "A"), (-1, 1, 1, "A")])
def test_a_node_that_makes_no_sense_is_refused(node: tuple[int, int, int, str]) -> None:
    with pytest.raises(ValueError, match="no such node"):
        Cluster.of([node])


@pytest.mark.parametrize("at", [Placement(0, (0, 1)), Placement(0, (1,)), Placement(0, ()), Placement(1, (0,))])
def test_what_does_not_fit_is_not_placed(at: Placement) -> None:
    cluster = Cluster.of([(1000, 100, 1, "A"), (1000, 100, 1, "B")])
    with pytest.raises(ValueError, match="doesn't fit"):
        place(cluster, Request(500, 10, 1, 500, frozenset({"A"})), at)


def test_a_table_is_for_one_clusters_nodes() -> None:
    table = Table(mix_of({}, ("A",)), room)
    table(Cluster.of([(1000, 100, 1, "A")]), Request(1, 1))
    with pytest.raises(ValueError, match="one cluster's nodes"):
        table(Cluster.of([(1000, 100, 1, "A")] * 2), Request(1, 1))


def test_typical_pods_are_the_most_frequent_until_their_part_is_reached() -> None:
    many, few, rare = Request(1, 1, 1, 500), Request(1, 1), Request(2, 1, 8, WHOLE)
    pods = {many: 90, few: 6, rare: 4}
    assert mix_of(pods, ("A",), part=0.9).weight.tolist() == [90]
    assert mix_of(pods, ("A",), part=0.95).weight.tolist() == [90]  # `few` counts toward it, and has no GPU
    assert mix_of(pods, ("A",)).weight.tolist() == [90, 4]
    assert mix_of(pods, ("A",), power=1).weight.tolist() == [45_000, 32_000]
    with pytest.raises(ValueError, match="power"):
        mix_of(pods, ("A",), power=-1)
    with pytest.raises(ValueError, match="weights"):
        mix_of(pods, ("A",), power=4)
    with pytest.raises(ValueError, match="part"):
        mix_of(pods, ("A",), part=0)
