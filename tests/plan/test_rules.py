"""A reason shown for an excluded site is the rule that excludes it: lifted, the site opens or the next rule shows."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.ids import SiteName
from moyai.model.reasons import Code, Reason
from moyai.model.site import link_key
from moyai.model.workload import Need
from moyai.plan.place import feasible_rows, plan
from moyai.plan.rules import need_text
from moyai.plan.types import Policy, QueuedJob, Snapshot
from plan.world import GB, GIB, NOW, dataset, flavor, fleet, job, row, site

POLICY = Policy()
GPU = Need(2, GIB, "H100", 2)


def world(broken: frozenset[Code]) -> tuple[Snapshot, QueuedJob]:
    """A job and a fleet in which site "x" breaks exactly the given rules, and "home" holds the data."""
    state = {
        "joined": Code.SITE_NOT_JOINED not in broken,
        "lost": Code.SITE_LOST in broken,
        "draining": Code.SITE_DRAINING in broken,
        "capabilities": () if Code.ENGINE_LACKS in broken else ("mounts",),
    }
    kind = "A100" if Code.NO_FLAVOR in broken else "H100"
    count = 1 if Code.TOO_FEW_NODES in broken else 4
    nodes = flavor(count, 4, "gpu", accelerator=kind, accelerators=2, idle_w=100, peak_w=500)
    cap_w = 100 * count + (10 if Code.POWER_CAP in broken else 5_000)
    x = site("x", 30, nodes, jurisdiction="US" if Code.RESIDENCY in broken else "JP-13", cap_w=cap_w, **state)
    home = site("home", 30)
    data = dataset("corpus", GB, *(() if Code.NO_REPLICA in broken else ("home",)), purposes=("research",))
    data = replace(data, purpose="advertising" if Code.PURPOSE in broken else "research")
    links = [] if Code.NO_LINK in broken else [("x", "home")]
    it = job("j", need=GPU, nodes=3, residency=("JP",), data=(data,), capabilities=("mounts",))
    return fleet(x, home, links=links), it


RULES = [
    Code.RESIDENCY,
    Code.PURPOSE,
    Code.SITE_NOT_JOINED,
    Code.SITE_LOST,
    Code.SITE_DRAINING,
    Code.ENGINE_LACKS,
    Code.NO_FLAVOR,
    Code.TOO_FEW_NODES,
    Code.POWER_CAP,
    Code.NO_REPLICA,
    Code.NO_LINK,
]


def told(broken: frozenset[Code]) -> Code:
    snapshot, it = world(broken)
    result = plan(snapshot, (it,), NOW, POLICY)
    rows = result.placements[0].placement.considered if result.placements else result.waiting[0].considered
    assert [(r.site, r.feasible, r.reason.code) for r in rows] == [
        (r.site, r.feasible, r.reason.code) for r in feasible_rows(snapshot, it, NOW, POLICY)
    ]
    return row(rows, "x").reason.code


@settings(max_examples=120, deadline=None)
@given(st.frozensets(st.sampled_from(RULES)))
def test_lifting_the_rule_that_is_shown_shows_another_or_opens_the_site(broken):
    while broken:
        shown = told(broken)
        assert shown in broken
        broken -= {shown}
    assert told(broken) is Code.CHOSEN


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_alone_is_told(rule):
    assert told(frozenset({rule})) is rule


def test_the_figures_of_reasons():
    def reason(*broken: Code) -> Reason:
        snapshot, it = world(frozenset(broken))
        return row(feasible_rows(snapshot, it, NOW, POLICY), "x").reason

    assert reason(Code.RESIDENCY) == Reason(Code.RESIDENCY, "workload", "JP")
    assert reason(Code.PURPOSE) == Reason(Code.PURPOSE, "corpus@1", "research")
    assert reason(Code.ENGINE_LACKS) == Reason(Code.ENGINE_LACKS, "mounts")
    assert reason(Code.NO_FLAVOR) == Reason(Code.NO_FLAVOR, "2 cores, 1 GiB, H100:2")
    assert reason(Code.TOO_FEW_NODES) == Reason(Code.TOO_FEW_NODES, "gpu", wanted=3, found=1)
    assert reason(Code.NO_REPLICA) == Reason(Code.NO_REPLICA, "corpus@1")
    assert reason(Code.NO_LINK) == Reason(Code.NO_LINK, "corpus@1", "home")
    assert reason(Code.POWER_CAP).found == 410


def test_a_residency_of_a_dataset_is_inherited_and_names_it():
    data = dataset("corpus", GB, "a", residency=("JP-40",))
    snapshot = fleet(site("a", 90, jurisdiction="JP-40"), site("b", 1, jurisdiction="JP-13"))
    result = plan(snapshot, (job("j", data=(data,)),), NOW, POLICY)
    placement = result.placements[0].placement
    assert placement.site == "a"
    assert row(placement.considered, "b").reason == Reason(Code.RESIDENCY, "corpus@1", "JP-40")
    restricted = job("j", restricted=(("corpus@1", ("JP-40",)),))
    assert plan(snapshot, (restricted,), NOW, POLICY).placements[0].placement.site == "a"


def test_the_flavor_that_comes_nearest_is_told():
    few = site("x", 30, flavor(1, 4, "small"), flavor(2, 1, "tiny"))
    rows = feasible_rows(fleet(few), job("j", need=Need(4), nodes=2), NOW, POLICY)
    assert rows[0].flavor == "small"
    assert rows[0].reason == Reason(Code.TOO_FEW_NODES, "small", wanted=2, found=1)


def test_a_link_that_carries_nothing_is_none():
    snapshot, it = world(frozenset())
    key = link_key(SiteName("home"), SiteName("x"))
    dead = replace(snapshot, links={key: replace(snapshot.links[key], bytes_per_second=0)})
    assert row(feasible_rows(dead, it, NOW, POLICY), "x").reason.code is Code.NO_LINK


def test_needs_in_words():
    assert need_text(Need(1)) == "1 core"
    assert need_text(Need(16, 1536 << 20, "H100", 8)) == "16 cores, 1.5 GiB, H100:8"
    assert need_text(Need(2, 500)) == "2 cores, 500 B"
