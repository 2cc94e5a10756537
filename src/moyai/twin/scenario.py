"""What a seed makes of a world: its sites, its jobs and what each of them really does."""

from dataclasses import dataclass

from moyai.control import requests as r
from moyai.model.ids import (
    BlobId,
    DatasetName,
    FlavorName,
    JobId,
    ProjectName,
    SiteName,
    TenantName,
    TextRef,
    job_id,
)
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.units import Instant
from moyai.model.workload import CheckpointRule, DatasetProfile, DataUse, JobOrder, Need, OnPartition
from moyai.twin.engine import Work
from moyai.twin.world import SECOND, START, World

TENANT, PROJECT = TenantName("acme"), ProjectName("lab")
NAMES = ("fukuoka", "ishikari", "tokyo")
CODES = {"fukuoka": "JP-40", "ishikari": "JP-01", "tokyo": "JP-13"}
CORPUS = DatasetName("corpus")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet, and requests of people with the true times at which they make them."""

    profiles: tuple[SiteProfile, ...]
    links: tuple[Link, ...]
    requests: tuple[tuple[int, r.Request], ...]
    jobs: tuple[JobId, ...]
    work: dict[JobId, Work]
    unguarded: SiteName | None  # whose engine starts without asking, and whose processes know no lease
    quiet_at: int  # true time after which people ask for nothing new


def draw(world: World) -> Scenario:
    """The scenario of a world's seed."""
    rng = world.rng
    count = rng.choice((2, 3, 3))
    profiles = tuple(_profile(world, SiteName(n)) for n in NAMES[:count])
    links = tuple(
        Link(a.name, b.name, rng.choice((5_000_000, 50_000_000, 500_000_000)), world.between(1_000, 30_000), 1_000_000)
        for a in profiles
        for b in profiles
        if a.name < b.name
    )
    requests: list[tuple[int, r.Request]] = [(0, r.DeclareFleet("operator", profiles, links))]
    data = world.chance(0.25)
    if data:
        residency = (CODES[profiles[0].name],) if world.chance(0.5) else ()
        profile = DatasetProfile(CORPUS, 1, residency)
        site = profiles[0].name
        requests.append((SECOND, r.RegisterDataset(TENANT, PROJECT, "ayako", "data", profile, site, TextRef("d"))))
    jobs: list[JobId] = []
    work: dict[JobId, Work] = {}
    most_cores = min(p.flavors[0].cores for p in profiles)
    most_nodes = min(p.flavors[0].count for p in profiles)
    for number in range(world.between(2, 7)):
        order, does = _job(world, number, most_cores, most_nodes, uses_data=data and world.chance(0.4))
        job = job_id(TENANT, PROJECT, order.name, f"key-{number}")
        at = world.between(2 * SECOND, 30 * SECOND)
        requests.append((at, r.SubmitJob(TENANT, PROJECT, "ayako", f"key-{number}", order, TextRef(f"text-{number}"))))
        if world.chance(0.12):
            requests.append((at + world.between(SECOND, 40 * SECOND), r.CancelJob("ayako", job)))
        jobs.append(job)
        work[job] = does
    unguarded = rng.choice(profiles).name if world.chance(0.15) else None
    requests.sort(key=lambda q: q[0])
    return Scenario(profiles, links, tuple(requests), tuple(jobs), work, unguarded, requests[-1][0])


def _profile(world: World, name: SiteName) -> SiteProfile:
    flavor = Flavor(
        FlavorName("cpu"),
        world.between(1, 3),
        world.rng.choice((2, 4)),
        8 << 30,
        idle_w=50,
        peak_w=200,
        price_micro_yen_per_hour=world.between(1, 9) * 1_000_000,
    )
    idle = flavor.count * flavor.idle_w
    cap = idle + 150 * flavor.count if world.chance(0.2) else 0
    return SiteProfile(
        name=name,
        engine="host",
        jurisdiction=CODES[name],
        latitude_microdeg=0,
        longitude_microdeg=0,
        flavors=(flavor,),
        price_micro_yen_per_kwh=world.between(10, 40) * 1_000_000,
        carbon_mg_per_kwh=world.between(100, 600) * 1_000,
        power_cap_w=cap,
        synthetic=True,
    )


def _job(world: World, number: int, most_cores: int, most_nodes: int, *, uses_data: bool) -> tuple[JobOrder, Work]:
    rng = world.rng
    total_us = world.between(SECOND, rng.choice((8, 25, 60)) * SECOND)
    saves = world.chance(0.4)
    failing = rng.choice((0, 0, 0, 0, 1, 1, 2))
    order = JobOrder(
        name=f"job{number}",
        need=Need(cores=world.between(1, most_cores)),
        nodes=world.between(1, most_nodes) if world.chance(0.3) else 1,
        priority=rng.choice((0, 0, 0, 10, 100)),
        deadline=Instant(START + world.between(30, 300) * SECOND) if world.chance(0.3) else None,
        expect_us=total_us if world.chance(0.6) else 0,
        limit_us=rng.choice((0, 0, 0, 0, total_us // 2, total_us * 3)),
        retries=rng.choice((0, 1, 2)),
        data=(DataUse(CORPUS, 1),) if uses_data else (),
        checkpoint=CheckpointRule(grace_us=2 * SECOND) if saves else None,
        on_partition=OnPartition.WAIT if world.chance(0.2) else OnPartition.STOP,
        grace_us=SECOND,
        workdir=BlobId(f"archive-{number}") if world.chance(0.25) else None,
    )
    every = max(SECOND, total_us // world.between(2, 5)) if saves else 0
    return order, Work(total_us, failing, every, world.between(1, 20) * 1_000_000)
