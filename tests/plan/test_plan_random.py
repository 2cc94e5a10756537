"""What must hold of every plan, on random fleets and queues."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.ids import ManifestId, SiteName, TenantName
from moyai.model.site import link_key
from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.plan.place import plan
from moyai.plan.types import Flow, Policy
from plan.world import (
    GB,
    GIB,
    HOUR,
    MINUTE,
    NOW,
    busy,
    check,
    checkpoint,
    dataset,
    flavor,
    fleet,
    job,
    site,
    where,
    worth,
)

NAMES = ("a", "b", "c")
NEEDS = st.builds(
    Need,
    cores=st.integers(1, 4),
    memory_bytes=st.sampled_from([0, GIB, 9 * GIB]),
    accelerator=st.just(""),
)
GPU_NEEDS = st.builds(Need, cores=st.integers(1, 2), accelerator=st.just("H100"), accelerators=st.integers(1, 2))
SPANS = st.sampled_from([MINUTE, 10 * MINUTE, HOUR, HOUR + 7, 3 * HOUR])


@st.composite
def flavors(draw):
    made = [
        flavor(
            draw(st.integers(1, 3)),
            draw(st.sampled_from([2, 4])),
            price_micro_yen_per_hour=draw(st.sampled_from([0, 5_000_000])),
        )
    ]
    if draw(st.booleans()):
        made.append(flavor(draw(st.integers(1, 2)), 2, "gpu", accelerator="H100", accelerators=2, peak_w=700))
    return made


@st.composite
def fleets(draw):
    sites, held = [], []
    for name in NAMES:
        kinds = draw(flavors())
        idle = sum(f.count * f.idle_w for f in kinds)
        cap = draw(st.sampled_from([0, 0, idle + 150, idle + 2_000]))
        codes = draw(st.sampled_from(["JP-01", "JP-13", "US"]))
        sites.append(
            site(name, draw(st.integers(1, 60)), *kinds, jurisdiction=codes, cap_w=cap, capabilities=("guard",))
        )
        for i in range(draw(st.integers(0, 2))):
            node = draw(st.integers(0, kinds[0].count - 1))
            attempt = busy(
                f"{name}-{i}",
                name,
                [node],
                draw(SPANS),
                Need(kinds[0].cores // 2),
                power_w=draw(st.sampled_from([0, 40])),
                preemptible=draw(st.booleans()),
                priority=draw(st.sampled_from([-1, 0])),
                unsaved_us=draw(st.sampled_from([0, MINUTE])),
            )
            if sum(b.site == name and node in b.nodes for b in held) < 2:
                held.append(attempt)
    links = draw(st.lists(st.sampled_from([("a", "b"), ("a", "c"), ("b", "c")]), unique=True))
    snapshot = fleet(*sites, busy=held, links=links)
    flows = []
    for pair in links:
        if draw(st.booleans()):
            manifest = draw(st.sampled_from([None, ManifestId("d0")]))
            flows.append(Flow(SiteName(pair[0]), SiteName(pair[1]), draw(st.integers(1, 9)) * GB, manifest))
    over = [s.profile.power_cap_w for s in sites]
    for view in sites:  # what runs now must fit under the cap
        drawn = sum(b.power_w for b in held if b.site == view.profile.name)
        idle = sum(f.count * f.idle_w for f in view.profile.flavors)
        assert not view.profile.power_cap_w or idle + drawn <= view.profile.power_cap_w, over
    return replace(snapshot, flows=tuple(flows))


@st.composite
def queues(draw, most=7):
    jobs = []
    for i in range(draw(st.integers(0, most))):
        data = [
            dataset(
                f"d{k}",
                (k + 1) * GB,
                *[n for j, n in enumerate(NAMES) if (k + j) % 2 == 0],
                residency=("JP",) if k == 1 else (),
            )
            for k in draw(st.lists(st.integers(0, 2), max_size=2, unique=True))
        ]
        resumes = []
        if draw(st.booleans()):
            resumes.append(
                (checkpoint(f"c{i}", GB, draw(st.sampled_from(NAMES))), draw(st.sampled_from([MINUTE, 2 * HOUR])))
            )
        jobs.append(
            job(
                f"j{i}",
                draw(SPANS),
                at=draw(st.integers(0, 3)),
                tenant=draw(st.sampled_from(["acme", "zeta"])),
                not_before=draw(st.sampled_from([0, 0, 5 * MINUTE])),
                need=draw(st.one_of(NEEDS, NEEDS, GPU_NEEDS)),
                nodes=draw(st.sampled_from([1, 1, 2, 3])),
                priority=draw(st.sampled_from([-2, 0, 0, 3])),
                deadline=draw(st.sampled_from([None, None, Instant(NOW + HOUR), Instant(NOW - HOUR)])),
                residency=draw(st.sampled_from([(), (), ("JP",), ("JP-13", "US")])),
                capabilities=draw(st.sampled_from([(), ("guard",), ("mounts",)])),
                avoid=draw(st.sampled_from([(), (), (SiteName("a"),)])),
                data=tuple(data),
                resumes=tuple(resumes),
            )
        )
    return tuple(jobs)


POLICIES = st.sampled_from(
    [
        Policy(exact_below_cells=0),
        Policy(exact_below_cells=0, horizon_us=HOUR),
        Policy(exact_below_cells=0, wait_micro_yen_per_hour=0, tenant_weight_milli={TenantName("zeta"): 0}),
        Policy(exact_below_cells=0, preempt_gain_milli=0),
        Policy(exact_below_cells=600, exact_seconds=5),
    ]
)


@settings(max_examples=150, deadline=None)
@given(fleets(), queues(), POLICIES)
def test_every_plan_holds_all_rules_and_its_bound(snapshot, queue, policy):
    result = plan(snapshot, queue, NOW, policy)
    check(result, snapshot, queue, policy)
    if not result.waiting and not result.preemptions:
        assert abs(worth(result, queue, policy) - result.value_micro_yen) <= 10 * len(queue)


@settings(max_examples=60, deadline=None)
@given(fleets(), queues(), POLICIES, st.integers())
def test_the_order_of_what_goes_in_makes_no_difference(snapshot, queue, policy, seed):
    first = plan(snapshot, queue, NOW, policy)
    assert plan(snapshot, queue, NOW, policy) == first
    chance = random.Random(seed)

    def mixed(items):
        items = list(items)
        chance.shuffle(items)
        return tuple(items)

    other = replace(
        snapshot,
        sites=mixed(replace(s, profile=replace(s.profile, flavors=mixed(s.profile.flavors))) for s in snapshot.sites),
        busy=mixed(snapshot.busy),
        flows=mixed(snapshot.flows),
        links=dict(mixed(snapshot.links.items())),
    )
    assert plan(other, mixed(queue), NOW, policy) == first


@settings(max_examples=100, deadline=None)
@given(fleets(), queues(4), st.integers(1, 4))
def test_jobs_behind_it_never_delay_a_job(snapshot, queue, cut):
    """Without deadlines, data and preemption, the plan of the first few is part of the plan of all."""
    policy = Policy(exact_below_cells=0, preemptions_per_cycle=0)
    queue = tuple(replace(j, data=(), resumes=(), order=replace(j.order, deadline=None)) for j in queue)
    ordered = sorted(queue, key=lambda j: (-j.order.priority, j.submitted_at, j.job))
    few, all_of_them = where(plan(snapshot, ordered[:cut], NOW, policy)), where(plan(snapshot, queue, NOW, policy))
    assert few == {name: all_of_them[name] for name in few}


@settings(max_examples=60, deadline=None)
@given(fleets(), queues(5))
def test_the_solver_never_makes_a_plan_worse_nor_a_bound_looser(snapshot, queue):
    without = plan(snapshot, queue, NOW, Policy(exact_below_cells=0))
    policy = Policy(exact_below_cells=800, exact_seconds=5)
    result = plan(snapshot, queue, NOW, policy)
    check(result, snapshot, queue, policy)
    assert without.value_micro_yen <= result.value_micro_yen
    assert result.bound_micro_yen <= without.bound_micro_yen


def test_link_keys_are_ordered():
    assert link_key(SiteName("b"), SiteName("a")) == ("a", "b")
