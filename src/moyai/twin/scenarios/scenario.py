"""A scenario that was read: the file itself, and what of it needs neither a trace nor a seed."""

import difflib
from dataclasses import dataclass, replace
from importlib import resources
from math import asin, cos, radians, sin, sqrt
from pathlib import Path

from moyai.model.ids import DatasetName, ProjectName, SiteName, TenantName
from moyai.model.site import Link, SiteProfile, link_key
from moyai.model.specs.fields import span_us
from moyai.model.specs.fleet import FleetSpec
from moyai.model.specs.problems import Problem, SpecError, quoted
from moyai.model.specs.resolve import resolve_fleet
from moyai.model.specs.scenario import PolicySpec, ScenarioSpec, WanSpec
from moyai.model.units import MICRO_YEN, Instant
from moyai.model.workload import DatasetProfile
from moyai.plan.types import Policy
from moyai.twin.replay.setup import Fault, Mishap, Placed
from moyai.twin.world import START

EARTH_KM = 6_371.0
FIBRE_KM_PER_S = 200_000.0
DETOUR = 1.5
"""How much longer the fibre between two places is than the line."""
REPRICE_US = 30 * 60 * 1_000_000
"""How long the prices of a replay hold."""
DATA_TENANT = TenantName("public")
PROJECT = ProjectName("replay")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario's file, with its fleet and policy in the units of the log."""

    spec: ScenarioSpec
    base: Path  # relative paths start here
    profiles: tuple[SiteProfile, ...]  # by name; prices and carbon as written, without the signals
    links: tuple[Link, ...]
    datasets: tuple[Placed, ...]
    faults: tuple[Fault, ...]  # by time
    policy: Policy

    @property
    def name(self) -> str:
        """What it is called."""
        return self.spec.name

    @property
    def began(self) -> Instant:
        """The instant at which it begins."""
        return START if self.spec.began is None else self.spec.began


def built_in() -> tuple[str, ...]:
    """The names of the scenarios that come with Moyai."""
    files = resources.files("moyai.twin.scenarios").iterdir()
    return tuple(sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml")))


def load(path: Path | str) -> Scenario:
    """The scenario in a file, or the built-in one of that name.

    Raises SpecError with all that is wrong, each with file and line. Whether its policies exist is asked elsewhere.
    """
    place = Path(path)
    known = built_in()
    if str(path) in known and not place.exists():
        place = Path(str(resources.files("moyai.twin.scenarios") / f"{path}.yaml"))
    elif not place.exists() and place.name == str(path) and not place.suffix:
        near = difflib.get_close_matches(str(path), known, 1)
        hint = f"did you mean {quoted(near[0])}?" if near else f"built in: {', '.join(known)}"
        raise SpecError((Problem("is no scenario: neither a file nor built in", hint, quoted(str(path))),))
    return resolve(ScenarioSpec.from_file(place), place.parent)


def resolve(spec: ScenarioSpec, base: Path) -> Scenario:
    """The scenario that a file says; `base` is where its relative paths start."""
    profiles, _ = resolve_fleet(FleetSpec(sites=spec.sites))
    by_name = {profile.name: profile for profile in profiles}
    links = tuple(sorted((_link(link, by_name) for link in spec.links), key=lambda link: (link.a, link.b)))
    placed = tuple(
        Placed(
            DATA_TENANT,
            PROJECT,
            DatasetProfile(DatasetName(dataset.name), 1, tuple(sorted(dataset.residency))),
            SiteName(dataset.site),
            dataset.size.low,
        )
        for dataset in spec.datasets
    )
    faults = tuple(
        sorted(
            (Fault(span_us(fault.at), SiteName(fault.site), Mishap(fault.what)) for fault in spec.faults),
            key=lambda fault: (fault.at_us, fault.site),
        )
    )
    weights = {TenantName(tenant.name): int(tenant.weight * 1_000) for tenant in spec.tenants if tenant.weight != 1}
    shares = {TenantName(t.name): int(t.guaranteed_percent * 10) for t in spec.tenants if t.guaranteed_percent}
    policy = replace(_policy(spec.policy), tenant_weight_milli=weights, share_milli=shares)
    return Scenario(spec, base, profiles, links, placed, faults, policy)


def distance_km(a: SiteProfile, b: SiteProfile) -> float:
    """Kilometres between two sites along the surface of the earth (haversine)."""
    lat_a, lat_b = radians(a.latitude_microdeg / 1e6), radians(b.latitude_microdeg / 1e6)
    across = radians((a.longitude_microdeg - b.longitude_microdeg) / 1e6)
    chord = sin((lat_a - lat_b) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin(across / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(chord)))


def latency_us(length_km: float) -> int:
    """One-way latency of a fibre between places `length_km` apart, in µs."""
    return round(length_km * DETOUR / FIBRE_KM_PER_S * 1e6)


def _link(spec: WanSpec, by_name: dict[SiteName, SiteProfile]) -> Link:
    a, b = link_key(SiteName(spec.between[0]), SiteName(spec.between[1]))
    if spec.latency is not None:
        latency = span_us(spec.latency)
    else:
        written = spec.distance_km
        latency = latency_us(distance_km(by_name[a], by_name[b]) if written is None else float(written))
    return Link(a, b, spec.bandwidth, latency, int(spec.egress_yen_per_gb * MICRO_YEN))


def _policy(spec: PolicySpec) -> Policy:
    # By classes and prices from the first job on: an exact solver that stops by the clock would not give the same
    # replay twice, and months of short queues are to pass in minutes.
    policy = Policy(exact_below_cells=0, scale_from=0, reprice_us=REPRICE_US)
    if spec.value_yen_per_node_hour is not None:
        policy = replace(policy, value_micro_yen_per_node_hour=int(spec.value_yen_per_node_hour * MICRO_YEN))
    if spec.missed_yen_per_node_hour is not None:
        missed = float(spec.missed_yen_per_node_hour) * MICRO_YEN
        policy = replace(policy, miss_milli=round(1_000 * missed / max(policy.value_micro_yen_per_node_hour, 1)))
    if spec.late_yen_per_hour is not None:
        policy = replace(policy, late_micro_yen_per_hour=int(spec.late_yen_per_hour * MICRO_YEN))
    if spec.wait_yen_per_hour is not None:
        policy = replace(policy, wait_micro_yen_per_hour=int(spec.wait_yen_per_hour * MICRO_YEN))
    if spec.carbon_yen_per_kg is not None:
        policy = replace(policy, carbon_micro_yen_per_kg=int(spec.carbon_yen_per_kg * MICRO_YEN))
    if spec.horizon is not None:
        policy = replace(policy, horizon_us=span_us(spec.horizon))
    if spec.preemptions_per_cycle is not None:
        policy = replace(policy, preemptions_per_cycle=spec.preemptions_per_cycle)
    if spec.migrations_per_round is not None:
        policy = replace(policy, migrations_per_round=spec.migrations_per_round)
    return policy
