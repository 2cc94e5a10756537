"""Pools, feeds and links over time, against a count second by second."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.ids import ManifestId, SiteName
from moyai.model.site import Link
from moyai.model.workload import Need
from moyai.plan.lanes import Lanes, Move
from moyai.plan.pack import Feed, Pool, ranks_of, ranks_per_node, size_of, taken
from moyai.plan.types import Flow
from moyai.plan.units import MEASURES, measures, shares
from plan.world import flavor

ASKS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(1, 4), st.integers(0, 6), st.integers(1, 5)),
    max_size=12,
)
"""(cores, accelerators, ranks, earliest, length)"""


def free(used, node, t, kind):
    return kind.cores - sum(u[2] for u in used if u[0] == node and u[3] <= t < u[4]), kind.accelerators - sum(
        u[5] for u in used if u[0] == node and u[3] <= t < u[4]
    )


def fits(used, kind, ask, start) -> bool:
    cores, accelerators, ranks, _, length = ask
    room = 0
    for node in range(kind.count):
        spans = [free(used, node, t, kind) for t in range(start, start + length)]
        c, a = min(s[0] for s in spans), min(s[1] for s in spans)
        room += ranks_of(c, 0, a, (cores, 0, accelerators))
    return room >= ranks


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 3), ASKS, st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(1, 6)), max_size=4)
)
def test_a_pool_finds_the_earliest_place_and_never_overfills_a_node(count, asks, held):
    kind = flavor(count, 4, accelerator="X", accelerators=2)
    used = []
    start = []
    for node, cores, end in held:
        if node < count and sum(u[2] for u in used if u[0] == node) + cores <= 4:
            used.append((node, 0, cores, -1, end, 0))
            start.append((node, (cores, 0, 0), 1, end))
    pool = Pool(kind, start)
    for ask in asks:
        cores, accelerators, ranks, earliest, length = ask
        size = (cores, 0, accelerators)
        found = pool.earliest(size, ranks, earliest, lambda t, n=length: t + n)
        expected = next((t for t in range(earliest, 200) if fits(used, kind, ask, t)), None)
        assert found == expected
        if found is None:
            continue
        assert pool.room(size, found, found + length) >= ranks
        twin = pool.copy()
        nodes = pool.take(size, ranks, found, found + length, "it")
        assert len(nodes) == ranks
        assert twin.earliest(size, ranks, earliest, lambda t, n=length: t + n) == found  # the copy is apart
        used += [(n, 0, cores, found, found + length, accelerators) for n in nodes]
        for t in range(found, found + length):
            for node in range(count):
                assert min(free(used, node, t, kind)) >= 0
        assert sorted(n for g in pool.groups.values() for n in g.nodes) == list(range(count))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 6), st.integers(1, 5)), max_size=10))
def test_a_feed_finds_the_earliest_power_and_never_goes_over(asks):
    feed, used = Feed(100, [(30, 4)]), [(30, -9, 4)]

    def left(t):
        return 100 - sum(w for w, a, b in used if a <= t < b)

    for power, earliest, length in asks:
        found = feed.earliest(power, earliest, lambda t, n=length: t + n)
        assert found == next(t for t in range(earliest, 200) if all(left(u) >= power for u in range(t, t + length)))
        assert feed.spare_w(found, found + length) == min(left(u) for u in range(found, found + length))
        feed.take(power, found, found + length)
        used.append((power, found, found + length))


def test_nodes_with_the_same_future_are_one_group():
    pool = Pool(flavor(1_000, 4))
    assert len(pool.groups) == 1
    pool.take((4, 0, 0), 400, 0, 10, "a")
    assert len(pool.groups) == 2
    pool.take((4, 0, 0), 600, 0, 10, "b")
    assert len(pool.groups) == 1
    assert pool.earliest((1, 0, 0), 1, 0, lambda t: t + 1) == 10


def test_an_attempt_on_a_node_that_is_gone_is_left_out_and_an_overfull_node_takes_nothing():
    pool = Pool(flavor(1, 4), [(7, (4, 0, 0), 1, 10), (0, (3, 0, 0), 2, 10)])
    assert pool.room((1, 0, 0), 0, 5) == 0
    assert pool.earliest((1, 0, 0), 1, 0, lambda t: t + 1) == 10


def test_ranks_per_node():
    gpu = flavor(1, 8, accelerator="H100", accelerators=4)
    assert ranks_per_node(gpu, Need(1, accelerator="H100", accelerators=2)) == 2
    assert ranks_per_node(gpu, Need(1, accelerator="A100", accelerators=1)) == 0
    assert ranks_per_node(gpu, Need(3)) == 2
    assert size_of(Need(3, 5, "H100", 1)) == (3, 5, 1)


def test_steps_that_are_equal_become_one():
    profile = ((0, 4, 0, 0),)
    once = taken(profile, 2, 5, (4, 0, 0), 1)
    assert once == ((0, 4, 0, 0), (2, 0, 0, 0), (5, 4, 0, 0))
    assert taken(once, 5, 9, (4, 0, 0), 1) == ((0, 4, 0, 0), (2, 0, 0, 0), (9, 4, 0, 0))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 24), st.lists(st.integers(1, 24), max_size=24))
def test_no_measure_of_a_node_exceeds_one(capacity, needs):
    packed, total = [], 0
    for need in needs:
        if total + need <= capacity:
            packed.append(need)
            total += need
    for way in range(MEASURES // 3):
        assert sum(Fraction(shares(n, capacity)[way]).limit_denominator(1_000) for n in packed) <= 1


def test_measures_of_a_rank_are_of_cores_memory_and_accelerators():
    kind = flavor(1, 4, accelerator="X", accelerators=2)
    found = measures(kind, (3, 0, 1))
    assert found[:2] == (0.75, 1.0)
    assert not any(found[4:8])
    assert found[8:10] == (0.5, 0.5)


A, B = SiteName("a"), SiteName("b")


def move(name: str, took: int = 10, egress: int = 7) -> Move:
    return Move(ManifestId(name), 100, (A, B), took, egress, 1)


def test_transfers_take_turns_on_a_link():
    lanes = Lanes(0)
    first = lanes.arrival((move("x"), move("y")), B, 5)
    assert (first.at, first.egress_micro_yen, first.moved_bytes) == (25, 14, 200)
    lanes.take(first, B)
    assert lanes.arrival((move("z"),), B, 0).at == 35  # the gap before is too short
    assert lanes.arrival((move("z", 5),), B, 0).at == 5


def test_what_comes_there_anyway_is_free_unless_its_own_way_is_sooner():
    lanes = Lanes(0)
    lanes.take(lanes.arrival((move("x"),), B, 50), B)
    assert lanes.arrival((move("x"),), B, 45).egress_micro_yen == 0
    assert lanes.arrival((move("x"),), B, 45).at == 60
    soon = lanes.arrival((move("x"),), B, 0)
    assert (soon.at, soon.egress_micro_yen) == (10, 7)
    assert lanes.arrival((move("x"),), A, 60).egress_micro_yen == 7  # another target


def test_what_is_under_way_holds_its_link():
    link = Link(A, B, 1_000_000, 0)
    flows = (Flow(A, B, 20), Flow(B, A, 30, ManifestId("x")))
    lanes = Lanes(100, flows, {(A, B): link})
    assert lanes.arrival((move("y"),), B, 100).at == 160
    ride = lanes.arrival((move("x"),), A, 100)
    assert (ride.at, ride.egress_micro_yen, ride.moved_bytes) == (150, 0, 0)
    assert Lanes(100, flows, {}).arrival((move("y"),), B, 100).at == 110  # a link that is gone carries nothing
