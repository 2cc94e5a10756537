"""A gang has all its ranks in one domain, or none; and takes what leaves most to larger gangs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.plan.nodes.cluster import WHOLE, Cluster, Placement, Request, place
from moyai.plan.nodes.gangs import gang
from plan.nodes.tiny import everywhere, requests, used

GANG = Request(4000, 100, 8, WHOLE)


@settings(max_examples=120, deadline=None)
@given(cluster=used(), request=requests(), ranks=st.integers(1, 4), data=st.data())
def test_a_gang_is_whole_in_one_domain_and_none_only_where_no_domain_holds_it(
    cluster: Cluster, request: Request, ranks: int, data: st.DataObject
) -> None:
    domain = np.array(data.draw(st.lists(st.integers(0, 2), min_size=cluster.nodes, max_size=cluster.nodes)), np.int64)
    able = {p.node for p in everywhere(cluster, request)}
    placements = gang(cluster, request, ranks, domain)
    if placements is None:
        assert all(sum(domain[n] == d for n in able) < ranks for d in range(3))
        return
    assert len({p.node for p in placements}) == ranks
    assert len({int(domain[p.node]) for p in placements}) == 1
    for placement in placements:
        cluster = place(cluster, request, placement)


def test_the_smallest_domain_that_holds_it_is_taken() -> None:
    cluster = Cluster.of([(8000, 1000, 8, "A")] * 5)
    chosen = gang(cluster, GANG, 2, np.array([0, 0, 0, 1, 1]))
    assert chosen == tuple(Placement(node, tuple(range(8))) for node in (3, 4))


def test_the_lowest_bucket_that_is_enough_is_taken_then_the_lowest_index() -> None:
    cluster = Cluster.of([(8000, 1000, 8, "A"), (8000, 1000, 4, "A"), (8000, 1000, 4, "A"), (8000, 1000, 2, "A")])
    chosen = gang(cluster, Request(1000, 10, 4, WHOLE), 1, np.zeros(4, np.int64))
    assert chosen == (Placement(1, (0, 1, 2, 3)),)


def test_what_makes_no_sense_is_refused() -> None:
    cluster = Cluster.of([(8000, 1000, 8, "A")] * 2)
    with pytest.raises(ValueError, match="at least one rank"):
        gang(cluster, GANG, 0, np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="for each node"):
        gang(cluster, GANG, 1, np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="for each node"):
        gang(cluster, GANG, 1, np.array([0, -1]))
