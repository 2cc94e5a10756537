"""EASY backfill: the first job that waits is never later than it was promised, whatever goes ahead of it."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.facility.power import attempt_power_w
from moyai.model.ids import SiteName, TenantName
from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.plan.pack import ranks_of, ranks_per_node, size_of
from moyai.twin.policies import Knowledge, make
from plan.world import GB, HOUR, MINUTE, NOW, dataset, flavor, job, site
from twin.policies.mill import Mill, jobs, sites

HOMES = {TenantName("acme"): SiteName("a"), TenantName("zoo"): SiteName("b")}


def opens(mill: Mill, waiting, holds, where) -> int | None:
    """The first instant at which a job fits, were nothing to start but what `holds` has; None where never."""
    found = []
    need, nodes = waiting.order.need, waiting.order.nodes
    for view in mill.sites:
        profile = view.profile
        if view.lost or view.draining or not where(profile.name):
            continue
        idle_w = sum(f.count * f.idle_w for f in profile.flavors)
        for kind in profile.flavors:
            if ranks_per_node(kind, need) * kind.count < nodes:
                continue
            power_w = placed_w(kind, need, nodes)
            if profile.power_cap_w and idle_w + power_w > profile.power_cap_w:
                continue
            for at in sorted({mill.now, *(h[4] for h in holds)}):
                live = [h for h in holds if h[4] > at and h[0] == profile.name]
                drawn = idle_w + sum(h[5] for h in live) + power_w
                if profile.power_cap_w and drawn > profile.power_cap_w:
                    continue
                free = {n: [kind.cores, kind.memory_bytes, kind.accelerators] for n in range(kind.count)}
                for _, name, taken, size, *_ in live:
                    for node in taken if name == kind.name else ():
                        free[node] = [a - b for a, b in zip(free[node], size, strict=True)]
                if sum(ranks_of(*f, size_of(need)) for f in free.values()) >= nodes:
                    found.append(at)
                    break
    return min(found, default=None)


def placed_w(kind, need: Need, nodes: int) -> int:
    """What it would draw there."""
    return attempt_power_w(need, nodes, kind, 1_000)


def check_promises(name: str, mill: Mill, homes=None) -> None:
    """Run to the end; at each plan, note what the first waiting job of each site, or of all, can count on."""
    planner = make(name, Knowledge(homes=homes or {}))
    every = {j.job: j for j in mill.queue}
    order = {
        "fifo": lambda j: (-j.order.priority, j.submitted_at, j.job),
        "home": lambda j: (-j.order.priority, j.submitted_at, j.job),
        "edf": lambda j: (-j.order.priority, j.order.deadline or 1 << 62, j.submitted_at, j.job),
        "sjf": lambda j: (-j.order.priority, j.run_us, j.submitted_at, j.job),
    }[name]
    promised: dict[str, int] = {}
    while True:
        before = dict(mill.busy)
        plan = mill.step(planner)
        for group in {homes[j.tenant] if homes else "" for j in mill.queue}:
            mine = [j for j in mill.queue if not homes or homes[j.tenant] == group]

            def may(site_name: str, group=group) -> bool:
                return not group or site_name == group

            for head in sorted(mine, key=order):
                holds = [(b.site, b.flavor, b.nodes, size_of(b.need), b.end, b.power_w) for b in before.values()]
                holds += [
                    (
                        p.placement.site,
                        p.placement.flavor,
                        p.placement.nodes,
                        size_of(every[p.job].order.need),
                        p.placement.end,
                        p.placement.power_w,
                    )
                    for p in plan.placements
                    if order(every[p.job]) < order(head)
                ]
                at = opens(mill, head, holds, may)
                if at is not None:
                    assert at > mill.now, f"{head.job} fits now and waits"
                    promised.setdefault(head.job, at)
                    break
        if not mill.advance():
            break
    for name_, at in promised.items():
        assert NOW + mill.starts[name_] <= at, f"{name_} was promised {at - NOW} and started {mill.starts[name_]}"


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["fifo", "edf", "sjf", "home"]))
def test_a_reservation_is_never_delayed(data, name):
    """Estimates are exact and nobody comes later: then who is first starts when it could, or before."""
    fleet = data.draw(sites())
    queue = [data.draw(jobs(n, plain=True)) for n in range(data.draw(st.integers(2, 12)))]
    check_promises(name, Mill(fleet, queue), HOMES if name == "home" else None)


def test_a_short_job_goes_ahead_and_a_long_one_does_not():
    """One node of four cores is busy for an hour; a whole-fleet job waits for it."""
    fleet = [site("a", 10, flavor(2))]
    first, gang = job("first", HOUR, at=0, need=Need(4)), job("gang", HOUR, at=1, need=Need(4), nodes=2)
    long, short = job("long", 2 * HOUR, at=2, need=Need(4)), job("short", HOUR, at=3, need=Need(4))
    for name in ("fifo", "home"):
        mill = Mill(fleet, [first, gang, long, short])
        mill.run(make(name, Knowledge()))
        assert mill.starts == {"first": 0, "short": 0, "gang": HOUR, "long": 2 * HOUR}


def test_a_long_job_may_use_what_the_reservation_leaves():
    """The gang will have two of the three nodes: the third is free for anybody."""
    fleet = [site("a", 10, flavor(3))]
    queue = [
        job("first", HOUR, need=Need(4), nodes=2),
        job("gang", HOUR, at=1, need=Need(4), nodes=2),
        job("long", 9 * HOUR, at=2, need=Need(4)),
        job("longer", 9 * HOUR, at=3, need=Need(4)),
    ]
    mill = Mill(fleet, queue)
    mill.run(make("fifo", Knowledge()))
    assert mill.starts == {"first": 0, "long": 0, "gang": HOUR, "longer": 2 * HOUR}


def test_a_long_job_may_use_cores_beside_the_reservation_on_one_node():
    """One node of four cores: two are free now, but only one stays spare beside the three that are promised."""
    fleet = [site("a", 10, flavor(1))]
    queue = [
        job("first", HOUR, need=Need(2)),
        job("next", HOUR, at=1, need=Need(3)),
        job("small", 9 * HOUR, at=2, need=Need(1)),
        job("smaller", 9 * HOUR, at=3, need=Need(1)),
        job("short", HOUR, at=4, need=Need(1)),
    ]
    mill = Mill(fleet, queue)
    mill.run(make("fifo", Knowledge()))
    assert mill.starts == {"first": 0, "small": 0, "short": 0, "next": HOUR, "smaller": 2 * HOUR}


def test_power_is_reserved_too():
    """Nodes are free, power isn't: the wide job needs 300 of 400 W, of which 200 are drawn for an hour."""
    fleet = [site("a", 10, flavor(8), cap_w=8 * 50 + 400)]
    queue = [
        job("first", HOUR, need=Need(4), nodes=2),
        job("wide", HOUR, at=1, need=Need(4), nodes=3),
        job("long", 3 * HOUR, at=2, need=Need(4)),
        job("longer", 3 * HOUR, at=3, need=Need(4)),
        job("short", HOUR, at=4, need=Need(4)),
    ]
    mill = Mill(fleet, queue)
    mill.run(make("fifo", Knowledge()))
    assert mill.starts == {"first": 0, "long": 0, "short": 0, "wide": HOUR, "longer": 2 * HOUR}


def test_power_is_reserved_for_all_nodes_of_a_site():
    """The wide job waits for cores' power; a job on the GPU nodes of the same feed would take it."""
    gpus = flavor(2, 4, "gpu", accelerator="H100", accelerators=2)
    fleet = [site("a", 10, flavor(8), gpus, cap_w=10 * 50 + 400)]
    gpu = Need(4, 0, "H100", 2)  # 100 W
    queue = [
        job("first", HOUR, need=Need(4), nodes=2),
        job("wide", HOUR, at=1, need=Need(4), nodes=4),
        job("long", 3 * HOUR, at=2, need=gpu),
        job("short", HOUR, at=3, need=gpu),
    ]
    mill = Mill(fleet, queue)
    mill.run(make("fifo", Knowledge()))
    assert mill.starts == {"first": 0, "short": 0, "wide": HOUR, "long": 2 * HOUR}


def test_data_on_its_way_counts_as_running():
    """A job that is short but must wait for its data would run past the reservation."""
    fleet = [site("a", 10, flavor(2)), site("b", 10, flavor(1), draining=True)]
    queue = [
        job("first", HOUR, need=Need(4)),
        job("gang", HOUR, at=1, need=Need(4), nodes=2),
        job("fed", 30 * MINUTE, at=2, need=Need(4), data=(dataset("d", 360 * GB, "b"),)),  # an hour at 100 MB/s
        job("dry", 30 * MINUTE, at=3, need=Need(4)),
    ]
    mill = Mill(fleet, queue)
    plan = mill.step(make("fifo", Knowledge()))
    assert [p.job for p in plan.placements] == ["first", "dry"]


def test_a_job_that_is_not_due_holds_nobody_up():
    """Its backoff isn't over: it gets no reservation."""
    fleet = [site("a", 10, flavor(2))]
    queue = [
        job("first", HOUR, need=Need(4)),
        job("later", HOUR, at=1, need=Need(4), nodes=2, not_before=2 * HOUR),
        job("long", 9 * HOUR, at=2, need=Need(4)),
    ]
    plan = Mill(fleet, queue).step(make("fifo", Knowledge()))
    assert [p.job for p in plan.placements] == ["first", "long"]


def test_who_waits_for_other_nodes_gets_its_own_reservation():
    """The first waits for GPUs, the next for cores: both are kept from being overtaken."""
    gpus = flavor(1, 4, "gpu", accelerator="H100", accelerators=2)
    fleet = [site("a", 10, flavor(2), gpus)]
    gpu = Need(1, 0, "H100", 2)
    queue = [
        job("g1", HOUR, need=gpu),
        job("c1", HOUR, at=1, need=Need(4)),
        job("g2", HOUR, at=2, need=gpu),
        job("c2", HOUR, at=3, need=Need(4), nodes=2),
        job("c3", 2 * HOUR, at=4, need=Need(4)),
        job("c4", HOUR, at=5, need=Need(4)),
    ]
    mill = Mill(fleet, queue)
    plan = mill.step(make("fifo", Knowledge()))
    assert [p.job for p in plan.placements] == ["g1", "c1", "c4"]


def test_a_greedy_policy_keeps_nothing_free():
    """Those without reservations let anybody go ahead."""
    fleet = [site("a", 10, flavor(2))]
    queue = [
        job("first", HOUR, need=Need(4)),
        job("gang", HOUR, at=1, need=Need(4), nodes=2),
        job("long", 2 * HOUR, at=2, need=Need(4)),
    ]
    for name in ("first-fit", "best-fit", "fgd", "random", "cheapest", "locality", "mast"):
        mill = Mill(fleet, queue)
        mill.run(make(name, Knowledge()))
        assert mill.starts == {"first": 0, "long": 0, "gang": 2 * HOUR}


def test_what_ends_late_is_waited_for_anew():
    """An estimate was wrong: the promise moves, and nothing breaks."""
    fleet = [site("a", 10, flavor(2))]
    queue = [
        job("first", HOUR, need=Need(4)),
        job("gang", HOUR, at=1, need=Need(4), nodes=2),
        job("short", HOUR, at=2, need=Need(4)),
    ]
    mill, planner = Mill(fleet, queue), make("fifo", Knowledge())
    mill.step(planner)
    mill.busy["first.1"] = replace(mill.busy["first.1"], end=Instant(NOW + 3 * HOUR))
    mill.queue.append(job("shorter", 90 * MINUTE, at=3, need=Need(4)))
    mill.advance(NOW + HOUR // 2)
    assert [p.job for p in mill.step(planner).placements] == []
    mill.advance(NOW + HOUR)
    assert [p.job for p in mill.step(planner).placements] == ["shorter"]
    mill.run(planner)
    assert mill.starts["gang"] == 3 * HOUR


def test_a_promise_is_made_anew_when_an_end_moves():
    """Between two plans, and long before it was due: now there is time for a longer job."""
    fleet = [site("a", 10, flavor(2))]
    queue = [job("first", HOUR, need=Need(4)), job("gang", HOUR, at=1, need=Need(4), nodes=2)]
    mill, planner = Mill(fleet, queue), make("fifo", Knowledge())
    mill.step(planner)
    mill.busy["first.1"] = replace(mill.busy["first.1"], end=Instant(NOW + 3 * HOUR))
    mill.queue.append(job("filler", 2 * HOUR, at=2, need=Need(4)))
    mill.advance(NOW + MINUTE)
    assert [p.job for p in mill.step(planner).placements] == ["filler"]


def test_the_other_site_is_looked_at_again():
    """It opened later than the first one, until the end there moved: the reservation goes over, and a is open."""
    fleet = [site("a", 10, flavor(2)), site("b", 10, flavor(2))]
    queue = [
        job("one", HOUR, need=Need(4)),
        job("wide", 2 * HOUR, at=1, need=Need(4), nodes=3),  # fits nowhere: never
        job("gang", HOUR, at=2, need=Need(4), nodes=2),
    ]
    mill, planner = Mill(fleet, queue[:1]), make("fifo", Knowledge())
    mill.step(planner)
    mill.busy["two.1"] = replace(
        mill.busy["one.1"], attempt="two.1", job="two", site=SiteName("b"), end=Instant(NOW + 2 * HOUR)
    )
    mill.queue += queue[1:]
    assert not mill.step(planner).placements
    mill.busy["one.1"] = replace(mill.busy["one.1"], end=Instant(NOW + 3 * HOUR))
    mill.queue.append(job("long", 9 * HOUR, at=3, need=Need(4)))
    plan = mill.step(planner)
    assert [(p.job, p.placement.site) for p in plan.placements] == [("long", "a")]


def test_a_short_job_takes_of_what_long_ones_may_have():
    """Of the one node that isn't promised, a long job takes a core and a short one the rest."""
    fleet = [site("a", 10, flavor(4))]
    queue = [
        job("first", HOUR, need=Need(4), nodes=2),
        job("gang", HOUR, at=1, need=Need(4), nodes=3),
        job("long", 9 * HOUR, at=2, need=Need(1)),
        job("short", HOUR, at=3, need=Need(3)),
        job("longer", 9 * HOUR, at=4, need=Need(3)),
    ]
    plan = Mill(fleet, queue).step(make("fifo", Knowledge()))
    assert [p.job for p in plan.placements] == ["first", "long", "short"]
