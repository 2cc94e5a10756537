"""What each policy is: the one thing that makes it itself."""

from dataclasses import replace

import pytest

from moyai.model.ids import JobId, SiteName, TenantName
from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.twin.policies import Knowledge, make
from plan.world import GB, HOUR, MINUTE, NOW, busy, checkpoint, dataset, flavor, job, site
from twin.policies.mill import POLICY, Mill

FULL = Need(4)
"""A whole node of the default flavor."""


def started(name: str, queue, fleet=None, knowledge: Knowledge | None = None) -> list[str]:
    """The jobs in the order of their starts on one node."""
    mill = Mill(fleet or [site("a", 10, flavor(1))], queue)
    mill.run(make(name, knowledge or Knowledge()))
    return sorted(mill.starts, key=lambda j: mill.starts[j])


def placed(name: str, mill: Mill, knowledge: Knowledge | None = None) -> dict[str, str]:
    """job → site, of one plan."""
    return {p.job: p.placement.site for p in mill.step(make(name, knowledge or Knowledge())).placements}


def homes(**sites: str) -> Knowledge:
    """Tenants and where they are at home."""
    return Knowledge(homes={TenantName(t): SiteName(s) for t, s in sites.items()})


def test_fifo_takes_who_came_first():
    """Whatever their deadlines and lengths."""
    queue = [
        job("c", MINUTE, at=3, need=FULL, deadline=Instant(NOW + MINUTE)),
        job("a", HOUR, at=1, need=FULL),
        job("b", 2 * HOUR, at=2, need=FULL),
    ]
    assert started("fifo", queue) == ["a", "b", "c"]


def test_edf_takes_the_earliest_deadline_and_then_those_without():
    """Among equals, who came first."""
    queue = [
        job("none", HOUR, at=0, need=FULL),
        job("late", HOUR, at=1, need=FULL, deadline=Instant(NOW + 9 * HOUR)),
        job("soon", 2 * HOUR, at=2, need=FULL, deadline=Instant(NOW + 3 * HOUR)),
        job("soon-too", HOUR, at=3, need=FULL, deadline=Instant(NOW + 3 * HOUR)),
    ]
    assert started("edf", queue) == ["soon", "soon-too", "late", "none"]


def test_sjf_takes_what_is_truly_shortest():
    """It knows better than the estimates, and says so in its placements."""
    queue = [job("a", 3 * HOUR, need=FULL), job("b", 2 * HOUR, need=FULL), job("c", HOUR, need=FULL)]
    assert started("sjf", queue) == ["c", "b", "a"]
    known = Knowledge({JobId("a"): MINUTE, JobId("c"): 5 * HOUR})
    assert started("sjf", queue, knowledge=known) == ["a", "b", "c"]
    plan = Mill([site("a")], queue[:1]).step(make("sjf", known))
    assert plan.placements[0].placement.end == NOW + MINUTE


@pytest.mark.parametrize("name", ["fifo", "edf", "best-fit", "cheapest", "home"])
def test_nobody_else_knows_what_is_true(name):
    """The others see the estimates."""
    queue = [job("a", HOUR, need=FULL)]
    plan = Mill([site("a")], queue).step(make(name, Knowledge({JobId("a"): MINUTE})))
    assert plan.placements[0].placement.end == NOW + HOUR


@pytest.mark.parametrize("name", ["fifo", "edf", "sjf", "home", "best-fit", "cheapest"])
def test_priority_goes_before_everything(name):
    """As it does with ours."""
    queue = [
        job("first", MINUTE, at=0, need=FULL, deadline=Instant(NOW + MINUTE)),
        job("high", HOUR, at=1, need=FULL, priority=10),
    ]
    assert started(name, queue) == ["high", "first"]


def test_fifo_goes_where_the_work_starts_first():
    """Data lies at b; a comes first by name."""
    fleet = [site("a", 10), site("b", 30)]
    fed = job("fed", data=(dataset("d", GB, "b"),))
    assert placed("fifo", Mill(fleet, [fed, job("dry", at=1)])) == {"fed": "b", "dry": "a"}


def test_home_stays_at_home():
    """Though it's full there and empty elsewhere, and each home has a queue of its own."""
    fleet = [site("a", 10, flavor(1)), site("b", 10, flavor(1)), site("c", 10, flavor(9))]
    queue = [
        job("a1", HOUR, at=0, need=FULL, tenant="acme"),
        job("a2", HOUR, at=1, need=FULL, tenant="acme"),
        job("b1", 9 * HOUR, at=2, need=FULL, tenant="zoo"),
        job("b2", HOUR, at=3, need=FULL, tenant="zoo"),
    ]
    mill = Mill(fleet, queue)
    mill.run(make("home", homes(acme="a", zoo="b")))
    assert mill.where == {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
    assert mill.starts == {"a1": 0, "a2": HOUR, "b1": 0, "b2": 9 * HOUR}


def test_home_that_can_not_hold_a_job_leaves_it_waiting():
    """Static is static; a tenant without a home has the first site that takes its jobs."""
    fleet = [site("a", 10, flavor(1)), site("b", 10, flavor(2))]
    wide = job("wide", need=FULL, nodes=2)
    assert placed("home", Mill(fleet, [wide]), homes(acme="a")) == {}
    assert placed("home", Mill(fleet, [wide])) == {"wide": "b"}


def test_locality_waits_where_the_data_is():
    """Its site is full; without data it is at home; data that lies at none of the sites it may use: home."""
    full = busy("x", "a", [0, 1], HOUR)
    fleet = [site("a", 10), site("b", 10), site("c", 10)]
    queue = [
        job("fed", data=(dataset("d", GB, "a"),)),
        job("dry", at=1),
        job("barred", at=2, data=(dataset("e", GB, "a"),)),
    ]
    queue[2] = replace(queue[2], order=replace(queue[2].order, residency=("SG",)))
    fleet[2] = site("c", 10, jurisdiction="SG")
    mill = Mill(fleet, queue)
    mill.busy[full.attempt] = full
    assert placed("locality", mill, homes(acme="c")) == {"dry": "c", "barred": "c"}


def test_locality_takes_the_site_with_the_most_of_the_data():
    """It has two datasets, and no site has both."""
    two = job("two", data=(dataset("d", GB, "a"), dataset("e", 9 * GB, "b")))
    assert placed("locality", Mill([site("a"), site("b")], [two]), homes(acme="a")) == {"two": "b"}


def test_cheapest_takes_the_cheapest_that_has_room():
    """Electricity, nodes and egress together."""
    fleet = [site("a", 30), site("b", 10, flavor(1)), site("c", 20)]
    queue = [job(f"j{n}", at=n, need=FULL) for n in range(3)]
    assert placed("cheapest", Mill(fleet, queue)) == {"j0": "b", "j1": "c", "j2": "c"}
    dear = site("b", 10, flavor(1, price_micro_yen_per_hour=50_000_000))
    assert placed("cheapest", Mill([fleet[0], dear], queue[:1])) == {"j0": "a"}
    heavy = job("heavy", need=FULL, data=(dataset("d", 100 * GB, "a"),))
    assert placed("cheapest", Mill([fleet[0], site("b", 10)], [heavy])) == {"heavy": "a"}


def test_cheapest_follows_the_price():
    """Signals change which one it is."""
    mill = Mill([site("a", 10), site("b", 20)], [job("j0"), job("j1", at=1)])
    planner = make("cheapest", Knowledge())
    mill.queue, late = mill.queue[:1], mill.queue[1]
    mill.step(planner)
    mill.sites[0] = site("a", 30)
    mill.queue.append(late)
    mill.step(planner)
    assert mill.where == {"j0": "a", "j1": "b"}


def test_mast_takes_the_least_loaded_region_that_holds_the_data():
    """The emptiest of all doesn't hold it; of those that do, b is the emptier one."""
    fleet = [site("a"), site("b"), site("c")]
    fed = job("fed", data=(dataset("d", GB, "a", "b"),))
    mill = Mill(fleet, [fed, job("dry", at=1)])
    for held in (busy("x", "a", [0], HOUR), busy("y", "b", [0], HOUR, Need(1))):
        mill.busy[held.attempt] = held
    assert placed("mast", mill) == {"fed": "b", "dry": "c"}


def test_mast_counts_accelerators_for_those_who_need_them():
    """Cores are busy at a, accelerators at b."""
    gpus = flavor(2, 4, accelerator="H100", accelerators=2)
    mill = Mill([site("a", 10, gpus), site("b", 10, gpus)], [job("j", need=Need(1, 0, "H100", 1))])
    for held in (busy("x", "a", [0], HOUR, Need(3)), busy("y", "b", [0], HOUR, Need(1, 0, "H100", 2))):
        mill.busy[held.attempt] = held
    assert placed("mast", mill) == {"j": "a"}


def test_mast_spreads():
    """What it placed a moment ago counts."""
    mill = Mill([site("a"), site("b")], [job(f"j{n}", at=n, need=FULL) for n in range(4)])
    assert placed("mast", mill) == {"j0": "a", "j1": "b", "j2": "a", "j3": "b"}


def used(name: str, need: Need, knowledge: Knowledge | None = None, come=()) -> tuple[str, int]:
    """(site, node) of one job where the first node is empty, the next half full, and another site nearly full."""
    mill = Mill([site("a", 10, flavor(2)), site("b", 10, flavor(1))], [job("j", need=need), *come])
    for held in (busy("x", "a", [1], HOUR, Need(2)), busy("y", "b", [0], HOUR, Need(3))):
        mill.busy[held.attempt] = held
    place = mill.step(make(name, knowledge or Knowledge())).placements[0].placement
    return place.site, place.nodes[0]


def test_first_fit_takes_the_first_site_and_node():
    """By name, by index."""
    assert used("first-fit", Need(1)) == ("a", 0)


def test_best_fit_takes_the_fullest_of_all_sites():
    """Whichever it is."""
    assert used("best-fit", Need(1)) == ("b", 0)
    assert used("best-fit", Need(2)) == ("a", 1)
    assert used("best-fit", Need(3)) == ("a", 0)


def test_random_takes_every_place_now_and_then():
    """By the seed alone."""
    seen = [used("random", Need(1), Knowledge(seed=n)) for n in range(60)]
    assert set(seen) == {("a", 0), ("a", 1), ("b", 0)}
    assert seen == [used("random", Need(1), Knowledge(seed=n)) for n in range(60)]
    assert 15 < sum(place == ("b", 0) for place in seen) < 45  # pools are equally likely


def test_fgd_keeps_gpus_together_for_those_who_come_in_fours():
    """Best fit would break the last four of a."""
    eight = flavor(1, 8, accelerator="H100", accelerators=8)

    def where(name: str) -> str:
        one, four = Need(1, 0, "H100", 1), Need(1, 0, "H100", 4)
        waiting = [job(f"w{n}", at=n + 1, need=four, nodes=9) for n in range(9)]  # they never fit, but are expected
        mill = Mill([site("a", 10, eight), site("b", 10, eight)], [job("j", need=one), *waiting])
        for held in (busy("x", "a", [0], HOUR, four), busy("y", "b", [0], HOUR, Need(1, 0, "H100", 2))):
            mill.busy[held.attempt] = held
        return placed(name, mill)["j"]

    assert where("best-fit") == "a"
    assert where("fgd") == "b"


@pytest.mark.parametrize("name", ["fifo", "best-fit", "cheapest", "mast", "home"])
def test_a_checkpoint_is_used(name):
    """It lies at a: half the work is done."""
    resumed = job("j", HOUR, resumes=((checkpoint("save", GB, "a"), HOUR // 2),))
    plan = Mill([site("a", 10)], [resumed]).step(make(name, homes(acme="a")))
    planned = plan.placements[0]
    assert (planned.restore, planned.covered_us) == ("save", HOUR // 2)
    assert planned.placement.end == NOW + HOUR // 2


def test_figures_are_those_of_production():
    """Power, yen, energy and carbon of a placement: as ours has them."""
    wanted = job("j", 90 * MINUTE, need=Need(2), nodes=2, data=(dataset("d", GB, "b"),))
    view = site("a", 23, flavor(2, price_micro_yen_per_hour=7_000_000), pue=1_300, cap_w=900)
    view = replace(view, profile=replace(view.profile, carbon_mg_per_kwh=431_000))
    mill = Mill([view, site("b", 10, draining=True)], [wanted])
    ours = make("moyai", Knowledge())(mill.snapshot(), [wanted], NOW, POLICY).placements[0].placement
    for name in ("fifo", "cheapest"):
        theirs = make(name, Knowledge())(mill.snapshot(), [wanted], NOW, POLICY).placements[0].placement
        assert replace(theirs, considered=ours.considered) == ours


def test_transfers_share_their_link():
    """Two jobs, each with its own data over one link: the second waits for the first."""
    fleet = [site("a", 10), site("b", 10, draining=True)]
    queue = [job(f"j{n}", at=n, data=(dataset(f"d{n}", 10 * GB, "b"),)) for n in range(2)]
    plan = Mill(fleet, queue).step(make("fifo", Knowledge()))
    first, second = (p.placement.start - NOW for p in plan.placements)
    assert second == pytest.approx(2 * first, rel=1e-3)


def test_data_that_comes_for_one_comes_for_all():
    """The same data: once over the link, once paid."""
    fleet = [site("a", 10), site("b", 10, draining=True)]
    queue = [job(f"j{n}", at=n, data=(dataset("d", 10 * GB, "b"),)) for n in range(2)]
    plan = Mill(fleet, queue).step(make("fifo", Knowledge()))
    first, second = (p.placement for p in plan.placements)
    assert first.start == second.start
    assert first.cost_micro_yen == second.cost_micro_yen + 10_000_000
