"""Copies ahead of demand: where it comes again, within budget, cap and residency, over idle links, out of the way of jobs."""

from dataclasses import replace

import pytest

from control.fleet import PROJECT, TENANT, World, ended
from moyai.control import requests as r
from moyai.control.replicate import WINDOW_US, replicate
from moyai.model import events as e
from moyai.model.ids import DatasetName, ManifestId, SiteName, TextRef
from moyai.model.workload import DatasetProfile, DataUse
from moyai.plan.types import Policy

CORPUS = DatasetName("corpus")
TOKYO, FUKUOKA, ISHIKARI = SiteName("tokyo"), SiteName("fukuoka"), SiteName("ishikari")
SIZE = 10_000_000


def register(world: World, name: str, version: int, size: int = SIZE, residency=()) -> ManifestId:
    """A dataset version that lies at Tokyo."""
    profile = DatasetProfile(DatasetName(name), version, residency)
    world.ask(r.RegisterDataset(TENANT, PROJECT, "u", f"{name}{version}", profile, TOKYO, TextRef("d")))
    manifest = ManifestId(f"{name}-{version}")
    world.report("tokyo", e.DatasetAdopted(profile.name, version, TOKYO, manifest, size))
    return manifest


def use(world: World, name: str, site: str, key: str) -> None:
    """A job reads the newest version at a site, where it comes if it must."""
    job = world.submit("reader", key, data=(DataUse(DatasetName(name), 0),))
    attempt = world.place(job, site)
    for transfer in [t for t in world.control.state.transfers.values() if t.target == site]:
        world.report(site, e.TransferEnded(transfer.transfer, True, transfer.size_bytes, 5, ""))
    world.report(site, e.AttemptStarted(attempt, world.now, ()), ended(attempt))


def ahead(world: World, budget: int = 10 * SIZE, cap: int = 0) -> list[e.TransferIssued | e.ReplicaDropRequested]:
    policy = Policy(replicate_bytes_per_hour=budget, replicate_bytes_per_site=cap)
    return [rec.body for rec in world.keep(world.control.replicate(world.now, policy))]  # type: ignore[misc]


def read_often(world: World, name: str = "corpus", site: str = "fukuoka", times: int = 2) -> None:
    for i in range(times):
        use(world, name, site, f"{name}-{site}-{i}")


def test_a_new_version_goes_to_where_the_old_one_was_read_often() -> None:
    world = World()
    register(world, "corpus", 1)
    read_often(world)
    assert ahead(world) == []  # it is there
    new = register(world, "corpus", 2)
    (move,) = ahead(world)
    assert isinstance(move, e.TransferIssued)
    assert (move.manifest, move.source, move.target, move.job) == (new, TOKYO, FUKUOKA, None)
    assert move.bytes_per_second == 50_000_000  # half of the link
    assert ahead(world) == []  # under way


def test_it_is_off_where_the_policy_gives_no_budget() -> None:
    world = World()
    register(world, "corpus", 1)
    read_often(world)
    register(world, "corpus", 2)
    assert world.control.replicate(world.now, Policy()) == ()


def test_one_use_or_uses_of_long_ago_are_no_demand() -> None:
    world = World()
    register(world, "corpus", 1)
    read_often(world, times=1)
    read_often(world, site="ishikari")
    register(world, "corpus", 2)
    later = world.now + WINDOW_US + 1
    assert replicate(world.control.state, world.control.indexes, later, budget_bytes=10 * SIZE, cap_bytes=0) == ()
    (move,) = ahead(world)
    assert move.target == ISHIKARI  # type: ignore[union-attr]


def test_residency_a_drain_and_the_budget_are_kept() -> None:
    world = World()
    register(world, "corpus", 1)
    read_often(world)
    register(world, "corpus", 2, residency=("JP-13",))
    assert ahead(world) == []
    register(world, "corpus", 3)
    assert ahead(world, budget=SIZE - 1) == []
    world.ask(r.DrainSite("op", FUKUOKA, True))
    assert ahead(world) == []
    world.ask(r.DrainSite("op", FUKUOKA, False))
    assert len(ahead(world)) == 1


def test_a_link_that_is_used_is_left_alone_and_a_job_finds_half_of_one_that_a_copy_uses() -> None:
    world = World()
    register(world, "corpus", 1)
    register(world, "photos", 1)
    read_often(world)
    register(world, "corpus", 2)
    job = world.submit("other", "other", data=(DataUse(DatasetName("photos"), 1),))
    world.place(job, "fukuoka")
    assert ahead(world) == []  # photos are on the link
    (photos,) = world.control.state.transfers.values()
    world.report("fukuoka", e.TransferEnded(photos.transfer, True, SIZE, 5, ""))
    (copy,) = ahead(world)
    register(world, "maps", 1)
    world.place(world.submit("more", "more", data=(DataUse(DatasetName("maps"), 1),)), "fukuoka")
    demanded = next(t for t in world.control.state.transfers.values() if t.job is not None)
    assert (demanded.source, demanded.target) == (TOKYO, FUKUOKA)
    assert demanded.bytes_per_second + copy.bytes_per_second == 100_000_000  # type: ignore[union-attr]


def test_under_a_cap_the_copy_used_least_goes_first_and_never_the_last_one() -> None:
    world = World()
    old = register(world, "photos", 1)
    register(world, "corpus", 1)
    read_often(world, "photos", times=1)
    read_often(world, "corpus", times=3)
    new = register(world, "corpus", 2)
    assert ahead(world, cap=2 * SIZE) == [e.ReplicaDropRequested(old, FUKUOKA)]
    world.report("fukuoka", e.ReplicaDropped(old, FUKUOKA))
    (move,) = ahead(world, cap=2 * SIZE)
    assert move.manifest == new
    assert world.control.state.manifests[old].sites == ["tokyo"]


def test_a_copy_that_is_read_or_wanted_just_now_does_not_go() -> None:
    world = World()
    register(world, "photos", 1)
    register(world, "corpus", 1)
    read_often(world, "photos", times=1)
    read_often(world, "corpus", times=3)
    register(world, "corpus", 2)
    world.submit("waits", "waits", data=(DataUse(DatasetName("photos"), 1),))
    wanted = [d for d in ahead(world, cap=2 * SIZE) if isinstance(d, e.ReplicaDropRequested)]
    assert [d.manifest for d in wanted] == ["corpus-1"] or wanted == []
    assert all(d.manifest != "photos-1" for d in wanted)


@pytest.mark.parametrize("budget", [SIZE, 2 * SIZE, 3 * SIZE])
def test_what_moves_in_a_round_stays_within_the_budget_and_one_copy_a_link(budget: int) -> None:
    world = World()
    for name in ("a", "b"):
        register(world, name, 1)
        for site in ("fukuoka", "ishikari"):
            read_often(world, name, site)
        register(world, name, 2)
    moves = [m for m in ahead(world, budget) if isinstance(m, e.TransferIssued)]
    assert 0 < sum(m.size_bytes for m in moves) <= budget
    assert len({m.target for m in moves}) == len(moves)
    assert replace(moves[0], job=None) == moves[0]
