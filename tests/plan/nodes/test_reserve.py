"""Pods keep off the last places of gangs while they fit elsewhere, and never stay out because of it."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.nodes.cluster import WHOLE, Cluster, Placement, Request, place
from moyai.plan.nodes.fill import Table, fill
from moyai.plan.nodes.reserve import Reserve
from moyai.plan.nodes.worth import mix_of, room
from plan.nodes.tiny import clusters, everywhere, holds, requests, used

counts = st.dictionaries(requests(), st.integers(1, 5), max_size=4)
GANG = Request(4000, 100, 8, WHOLE)
ONE = Request(1000, 10, 1, WHOLE)


def reserve(cluster: Cluster, mix: Mapping[Request, int], *kept: int) -> Reserve:
    return Reserve(mix, cluster.models, mix_of(mix, cluster.models), room, kept=kept or (100,))


def within(j: Request, k: Request, models: tuple[str, ...]) -> bool:
    """On these models, wherever j fits, k does."""
    smaller = j.gpus >= k.gpus and j.cpu_milli >= k.cpu_milli and j.memory_mib >= k.memory_mib
    takes = [{m for m in models if not r.models or m in r.models} for r in (j, k)]
    return smaller and takes[0] <= takes[1]


def takes_room(now: Cluster, request: Request, at: Placement, mix: Mapping[Request, int], kept: int) -> bool:
    """Whether the request there takes a place that is kept for gangs, by counting all places before and after."""
    free, asked = int(now.gpu_milli.sum()), max(1, sum(n * r.asked_milli for r, n in mix.items()))
    then = place(now, request, at)
    for k in (r for r in mix if r.gpus > 1):
        need = kept * free * sum(n for j, n in mix.items() if j.gpus > 1 and within(j, k, now.models)) // (100 * asked)
        before, after = (sum(holds(c, n, k) for n in range(c.nodes)) for c in (now, then))
        if not within(request, k, now.models) and after < before and after < need:
            return True
    return False


@settings(max_examples=150, deadline=None)
@given(cluster=used(), request=requests(), mix=counts, kept=st.integers(0, 600))
def test_room_of_gangs_is_taken_only_where_the_least_loss_elsewhere_takes_it_too(
    cluster: Cluster, request: Request, mix: Mapping[Request, int], kept: int
) -> None:
    chosen = reserve(cluster, mix, kept)(cluster, request)
    possible = list(everywhere(cluster, request))
    assert (chosen in possible) if possible else chosen is None
    if chosen is None or not takes_room(cluster, request, chosen, mix, kept):
        return
    # Every node takes some, at the GPU that costs least there.
    table = Table(mix_of(mix, cluster.models), room)
    loss, gpu = table.look(cluster, request)
    for node in {p.node for p in possible}:
        gpus = (int(gpu[node]),) if gpu[node] >= 0 else next(p.gpus for p in possible if p.node == node)
        assert takes_room(cluster, request, Placement(node, gpus), mix, kept)
    assert loss[chosen.node] == loss.min()


@settings(max_examples=60, deadline=None)
@given(cluster=used(), request=requests(), mix=counts, more=st.integers(0, 600), less=st.integers(0, 600))
def test_less_is_kept_only_where_more_leaves_no_node(
    cluster: Cluster, request: Request, mix: Mapping[Request, int], more: int, less: int
) -> None:
    less, more = sorted((less, more))
    chosen = reserve(cluster, mix, more)(cluster, request)
    if chosen is not None and takes_room(cluster, request, chosen, mix, more):
        assert reserve(cluster, mix, more, less)(cluster, request) == reserve(cluster, mix, less)(cluster, request)
    else:
        assert reserve(cluster, mix, more, less)(cluster, request) == chosen


@settings(max_examples=40, deadline=None)
@given(cluster=clusters, coming=st.lists(requests(), max_size=20), mix=counts)
def test_nothing_kept_is_the_table(cluster: Cluster, coming: list[Request], mix: Mapping[Request, int]) -> None:
    expected = mix_of(mix, cluster.models)
    plain = fill(cluster, coming, Table(expected, room)).placements
    assert fill(cluster, coming, reserve(cluster, mix, 0)).placements == plain


@settings(max_examples=40, deadline=None)
@given(cluster=clusters, coming=st.lists(requests(), max_size=20), mix=counts)
def test_what_it_remembers_changes_no_answer(
    cluster: Cluster, coming: list[Request], mix: Mapping[Request, int]
) -> None:
    anew = fill(cluster, coming, lambda now, request: reserve(now, mix)(now, request)).placements
    kept = reserve(cluster, mix)
    assert fill(cluster, coming, kept).placements == anew
    assert fill(cluster, coming, kept).placements == anew  # the cluster is empty again


def test_a_pod_leaves_the_last_free_node_to_a_gang_until_nothing_else_is_left() -> None:
    cluster = Cluster.of([(8000, 1000, 8, "A"), (8000, 1000, 8, "A")])
    mix = {GANG: 1, ONE: 1}
    pods = fill(cluster, [ONE] * 16, reserve(cluster, mix))
    assert [p.node for p in pods.placements if p is not None] == [0] * 8 + [1] * 8
    mixed = fill(cluster, [ONE] * 8 + [GANG], reserve(cluster, mix))
    assert mixed.rejected == 0


def test_a_gang_is_not_kept_off_the_room_of_its_own_class() -> None:
    cluster = Cluster.of([(8000, 1000, 8, "A")])
    assert reserve(cluster, {GANG: 5}, 400)(cluster, GANG) == Placement(0, tuple(range(8)))


def test_no_room_for_less_than_no_gang_and_no_other_nodes() -> None:
    cluster = Cluster.of([(8000, 1000, 8, "A")])
    with pytest.raises(ValueError, match="less than no gang"):
        reserve(cluster, {GANG: 1}, 100, -1)
    policy = reserve(cluster, {GANG: 1})
    policy(cluster, ONE)
    with pytest.raises(ValueError, match="one cluster's nodes"):
        policy(Cluster.of([(8000, 1000, 8, "A")] * 2), ONE)
