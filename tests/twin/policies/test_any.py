"""What must hold of every peer, on random fleets and queues, cycle after cycle."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.ids import SiteName, TenantName
from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.plan.types import Flow
from moyai.twin.policies import NAMES, Knowledge, UnknownPolicy, make
from moyai.twin.policies.board import Board
from moyai.twin.policies.peer import Peer
from plan.world import GB, HOUR, MINUTE, NOW, dataset, flavor, job, site
from twin.policies.mill import POLICY, Mill, jobs, sites

PEERS = [name for name in NAMES if name != "moyai"]


def knowledge(queue, seed: int = 0) -> Knowledge:
    """Homes for both tenants, and run times that aren't the estimates."""
    homes = {TenantName("acme"): SiteName("a"), TenantName("zoo"): SiteName("b")}
    return Knowledge({j.job: j.run_us * 2 for j in queue[::2]}, homes, seed)


def same(a: Board, b: Board) -> None:
    """Two boards say the same."""
    assert a.sites == b.sites
    assert a.spare_w == b.spare_w
    assert list(a.pools) == list(b.pools)
    for one, two in zip(a.pools.values(), b.pools.values(), strict=True):
        assert one.nodes.free == two.nodes.free
        assert one.nodes.buckets == two.nodes.buckets
        assert one.taken == two.taken
        assert [(e, h.ranks, h.size, h.power_w) for e, _, h in one.ends] == [
            (e, h.ranks, h.size, h.power_w) for e, _, h in two.ends
        ]
        for size in [(1, 0, 0), (2, 0, 2), (4, 0, 0)]:
            for ranks in (1, 2, 4):
                assert one.nodes.has_room(size, ranks) == two.nodes.has_room(size, ranks)


def rebuilt(mill: Mill) -> Board:
    """A board that has seen nothing but the present."""
    board = Board()
    board.sync(mill.snapshot())
    return board


@pytest.mark.parametrize("name", PEERS)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_plan_keeps_every_rule_whatever_happens(name, data):
    """Placements vanish, sites are lost and come back, ends move, prices change; the board stays true."""
    fleet = data.draw(sites())
    queue = [data.draw(jobs(n)) for n in range(data.draw(st.integers(1, 10)))]
    mill = Mill(fleet, queue[: data.draw(st.integers(1, len(queue)))])
    planner = make(name, knowledge(queue))
    assert isinstance(planner, Peer)
    chance = random.Random(data.draw(st.integers(0, 99)))
    late = queue[len(mill.queue) :]
    for _ in range(5):
        mill.step(planner, keep=lambda _: chance.random() < 0.8)
        what = chance.randrange(8)
        if what == 0 and mill.queue:
            mill.queue.remove(chance.choice(mill.queue))
        elif what == 1:
            at = chance.randrange(len(mill.sites))
            mill.sites[at] = replace(mill.sites[at], lost=not mill.sites[at].lost)
        elif what == 2:
            at = chance.randrange(len(mill.sites))
            old = mill.sites[at]
            mill.sites[at] = replace(old, profile=replace(old.profile, price_micro_yen_per_kwh=chance.randrange(10**8)))
        elif what == 3 and mill.busy:
            attempt = chance.choice(sorted(mill.busy))
            mill.busy[attempt] = replace(mill.busy[attempt], end=Instant(mill.now + chance.randrange(1, HOUR)))
        elif what == 4 and mill.busy:
            del mill.busy[chance.choice(sorted(mill.busy))]
        elif what == 5:
            mill.sites.pop(chance.randrange(len(mill.sites))) if len(mill.sites) > 1 else None
            mill.busy = {a: b for a, b in mill.busy.items() if any(s.profile.name == b.site for s in mill.sites)}
        elif what == 6:
            mill.queue.sort(key=lambda j: chance.random())
        else:
            mill.advance(mill.now + chance.randrange(HOUR))
        if late and chance.random() < 0.7:
            mill.queue.append(late.pop())
        planner.board.sync(mill.snapshot())
        same(planner.board, rebuilt(mill))


@pytest.mark.parametrize("name", PEERS)
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_what_a_planner_remembers_changes_nothing(name, data):
    """A planner that is asked each time anew says the same, but for chance and what FGD expects."""
    fleet = data.draw(sites())
    queue = [data.draw(jobs(n)) for n in range(data.draw(st.integers(1, 8)))]
    mill, known = Mill(fleet, queue), knowledge(queue)
    old, chance = make(name, known), random.Random(data.draw(st.integers(0, 99)))
    for _ in range(5):
        before = mill.snapshot(), tuple(mill.queue), mill.now
        plan = mill.step(old, keep=lambda _: chance.random() < 0.7)
        if name not in ("random", "fgd"):
            assert make(name, known)(*before, POLICY) == plan
        if chance.random() < 0.5:
            mill.advance()
        if mill.queue and chance.random() < 0.3:
            at = chance.randrange(len(mill.queue))
            mill.queue[at] = replace(mill.queue[at], run_us=chance.choice([MINUTE, 5 * HOUR]))
        if chance.random() < 0.3:
            chance.shuffle(mill.queue)


@pytest.mark.parametrize("name", PEERS)
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_equal_seeds_give_equal_plans(name, data):
    """Run twice, it is the same run."""
    fleet = data.draw(sites())
    queue = [data.draw(jobs(n)) for n in range(data.draw(st.integers(1, 8)))]
    seen = []
    for _ in range(2):
        mill, planner = Mill(fleet, queue), make(name, knowledge(queue, seed=3))
        plans = [mill.step(planner)]
        while mill.advance():
            plans.append(mill.step(planner))
        seen.append(plans)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", PEERS)
def test_all_that_can_run_runs(name):
    """Large and small, more than there is room for at once."""
    fleet = [site("a", 10, flavor(2)), site("b", 20, flavor(3))]
    queue = [
        job(f"j{n:02d}", (n % 5 + 1) * MINUTE, at=n, nodes=n % 2 + 1, need=Need((1, 2, 4)[n % 3])) for n in range(30)
    ]
    mill = Mill(fleet, queue)
    mill.run(make(name, knowledge(queue)))
    assert not mill.queue
    assert len(mill.starts) == 30


@pytest.mark.parametrize("name", PEERS)
def test_nothing_to_do_and_nowhere_to_go(name):
    """No sites, no jobs; a job for nobody; an attempt at a site that isn't there."""
    planner = make(name, Knowledge())
    mill = Mill([])
    assert mill.step(planner).placements == ()
    mill.queue = [job("big", need=Need(99))]
    assert mill.step(planner).placements == ()
    mill.sites = [site("a")]
    assert mill.step(planner).placements == ()
    mill.queue.append(job("small"))
    assert [p.job for p in mill.step(planner).placements] == ["small"]


@pytest.mark.parametrize("name", PEERS)
def test_a_transfer_under_way_is_waited_for_and_not_paid_again(name):
    """Production's own links: the manifest is on its way, so that the job starts when it is there."""
    wanted = job("j", data=(dataset("d", 10 * GB, "a"),))
    mill = Mill([site("a", 10, draining=True), site("b", 10)], [wanted])
    planner = make(name, Knowledge(homes={TenantName("acme"): SiteName("b")}))
    alone = planner(mill.snapshot(), [wanted], NOW, POLICY).placements[0].placement
    flow = Flow(SiteName("a"), SiteName("b"), 5 * GB, wanted.data[0].manifest)
    shared = make(name, Knowledge(homes={TenantName("acme"): SiteName("b")}))(
        replace(mill.snapshot(), flows=(flow,)), [wanted], NOW, POLICY
    )
    placement = shared.placements[0].placement
    assert NOW < placement.start < alone.start
    assert placement.cost_micro_yen == alone.cost_micro_yen - 10 * 1_000_000


def test_a_policy_that_does_not_exist():
    """The names are told."""
    with pytest.raises(UnknownPolicy, match=r"there is no policy 'fife'; choose from moyai, fifo, edf"):
        make("fife", Knowledge())


def test_ours_is_production():
    """The planner that control asks, with nothing told beside."""
    from moyai.plan.place import LivePlanner

    assert isinstance(make("moyai", Knowledge()), LivePlanner)
    assert NAMES[0] == "moyai"
    assert len(set(NAMES)) == len(NAMES) == 12


@pytest.mark.parametrize("name", PEERS)
def test_an_estimate_that_changes_while_a_job_waits_is_the_new_one(name):
    """Its like has run meanwhile."""
    mill = Mill([site("a", 10, flavor(1))], [job("first", HOUR, need=Need(4)), job("j", HOUR, at=1, need=Need(4))])
    planner = make(name, Knowledge(homes={TenantName("acme"): SiteName("a")}))
    mill.step(planner)
    mill.queue = [replace(waiting, run_us=5 * MINUTE) for waiting in mill.queue]
    mill.advance()
    plan = mill.step(planner)
    assert [p.placement.end - p.placement.start for p in plan.placements] == [5 * MINUTE]
