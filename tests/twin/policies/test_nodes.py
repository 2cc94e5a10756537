"""Which nodes of a pool a job gets."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.workload import Need
from moyai.plan.nodes.cluster import Request
from moyai.plan.nodes.worth import mix_of, unfragmented
from moyai.twin.policies.nodes import AnyNode, BestFit, FirstFit, LeastFragmented
from moyai.twin.policies.pools import Nodes
from plan.world import flavor, job

GPUS = flavor(4, 8, "gpu", accelerator="H100", accelerators=8, memory_bytes=0)


def pool(*used: int) -> Nodes:
    """Nodes of eight cores and eight GPUs, with so many of both used."""
    nodes = Nodes(flavor(len(used), 8, "gpu", accelerator="H100", accelerators=8, memory_bytes=0))
    for node, count in enumerate(used):
        nodes.take(((node, count),), (1, 0, 1))
    return nodes


def gpus(count: int) -> Need:
    """GPUs, and as many cores."""
    return Need(count, 0, "H100", count)


def test_first_fit_takes_the_first():
    """Whatever is left there."""
    nodes = pool(7, 0, 6, 0)
    assert FirstFit()(nodes, GPUS, gpus(2), 1) == (((1, 1),), ())
    assert FirstFit()(nodes, GPUS, gpus(2), 6)[0] == ((1, 4), (2, 1), (3, 1))


def test_best_fit_takes_the_fullest():
    """So that whole nodes stay whole."""
    nodes = pool(7, 0, 6, 0)
    assert BestFit()(nodes, GPUS, gpus(2), 1) == (((2, 1),), (0, 0, 0))
    assert BestFit()(nodes, GPUS, gpus(3), 1) == (((1, 1),), (5, 5, 0))
    assert BestFit()(nodes, GPUS, gpus(1), 4) == (((0, 1), (1, 1), (2, 2)), (7, 7, 0))


def test_any_node_is_as_likely_as_the_next():
    """Drawn, and only from those that fit."""
    nodes, choice = pool(0, 8, 3, 0), AnyNode(Random(1))
    seen = [choice(nodes, GPUS, gpus(5), 1)[0][0][0] for _ in range(300)]
    assert set(seen) == {0, 2, 3}
    assert all(70 < seen.count(n) < 130 for n in (0, 2, 3))
    marks = {choice(nodes, GPUS, gpus(5), 1)[1] for _ in range(5)}
    assert len(marks) == 5


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_choice_takes_whole_gangs_that_fit(data):
    """Each rank on a node that holds it, none more than there is room for."""
    used = data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=6))
    need = gpus(data.draw(st.integers(1, 4)))
    room = sum((8 - u) // need.accelerators for u in used)
    if not room:
        return
    ranks = data.draw(st.integers(1, room))
    fgd = LeastFragmented()
    for count in data.draw(st.lists(st.integers(1, 8), max_size=6)):
        fgd.learn(job("x", need=gpus(count)))
    for choice in (FirstFit(), BestFit(), AnyNode(Random(0)), fgd):
        nodes = pool(*used)
        chosen, _ = choice(nodes, GPUS, need, ranks)
        assert sum(count for _, count in chosen) == ranks
        assert list(chosen) == sorted(chosen)
        assert len({node for node, _ in chosen}) == len(chosen)
        nodes.take(chosen, (need.cores, 0, need.accelerators))
        assert all(min(free) >= 0 for free in nodes.free)


def test_no_room_is_a_fault_of_who_asks():
    """They were told that it fits."""
    with pytest.raises(AssertionError):
        BestFit()(pool(8), GPUS, gpus(1), 1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_fgd_is_that_of_the_node_level(data):
    """What a node's free GPUs are worth: as `plan.nodes` counts it, up to its scale."""
    seen = data.draw(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=5))
    fgd, counts = LeastFragmented(), dict[Request, int]()
    for cores, count in seen:
        fgd.learn(job("x", need=Need(cores, 0, "H100", count), nodes=2))
        request = Request(cores * 1000, 0, count, 1000)
        counts[request] = counts.get(request, 0) + 2
    fgd(pool(0), GPUS, gpus(1), 1)  # it looks at what came
    mix = mix_of(counts, ("H100",))
    for free in range(9):
        cores = data.draw(st.integers(0, 8))
        milli = np.array([[1000] * free + [0] * (8 - free)], np.int64)
        one = np.array([0], np.int64)
        worth = int(unfragmented(np.array([cores * 1000]), one, milli, one, mix)[0])
        assert fgd.use("H100", (cores, 0, free)) * 1000 * sum(counts.values()) == pytest.approx(worth)


def test_fgd_keeps_what_others_need_together():
    """Jobs of four GPUs are expected: one GPU goes where no four are left, though best fit would go elsewhere."""
    fgd = LeastFragmented()
    for _ in range(10):
        fgd.learn(job("x", need=gpus(4)))
    nodes = pool(4, 2)  # 4 free, 6 free
    assert BestFit()(nodes, GPUS, gpus(1), 1)[0] == ((0, 1),)
    assert fgd(nodes, GPUS, gpus(1), 1)[0] == ((1, 1),)


def test_fgd_breaks_ties_by_best_fit():
    """Nothing is expected: all nodes are equal to it."""
    assert LeastFragmented()(pool(0, 5, 3), GPUS, gpus(1), 1)[0] == ((1, 1),)


def test_fgd_counts_cores_too():
    """GPUs without cores beside them are fragments."""
    fgd = LeastFragmented()
    fgd.learn(job("x", need=Need(4, 0, "H100", 1)))
    fgd(pool(0), GPUS, gpus(1), 1)
    assert fgd.use("H100", (4, 0, 3)) == 3
    assert fgd.use("H100", (3, 0, 3)) == 0
    assert fgd.use("A10", (4, 0, 3)) == 0
