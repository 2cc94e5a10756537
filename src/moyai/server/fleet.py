"""The fleet of a server: the one an operator wrote down, or one site that is this machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moyai.model.engine import EngineFile
from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.server.layout import Layout, StartTrouble, write_whole

LEASE_US = 15_000_000
"""How long a site may be out of reach, where the fleet says nothing."""
LOCAL = SiteName("local")
NOWHERE = "ZZ"
"""ISO 3166's code for a place that nobody named: a job with a residency does not run on a machine that has none."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Sites, links, and the lease of the sites."""

    profiles: tuple[SiteProfile, ...]
    links: tuple[Link, ...]
    lease_us: int = LEASE_US
    remote: tuple[SiteName, ...] = ()  # sites that join by themselves
    engines: Mapping[SiteName, EngineFile] = field(default_factory=dict[SiteName, EngineFile])


def fleet_of(layout: Layout, given: Path | None) -> Fleet:
    """The fleet in `given`, which the directory then keeps; else the one it keeps; else this machine.

    Raises StartTrouble with all that is wrong in the file.
    """
    if given is None and not layout.fleet.exists():
        return Fleet((this_machine(),), ())
    from moyai.model.specs.fields import span_us
    from moyai.model.specs.fleet import FleetSpec
    from moyai.model.specs.problems import SpecError
    from moyai.model.specs.resolve import resolve_engine, resolve_fleet

    path = given or layout.fleet
    try:
        spec = FleetSpec.from_file(path)
    except SpecError as error:
        raise StartTrouble(str(error)) from None
    if given is not None and given.resolve() != layout.fleet.resolve():
        try:
            write_whole(layout.fleet, given.read_bytes())
        except OSError as error:
            raise StartTrouble(f"{layout.fleet}: the fleet can't be kept ({error.strerror})") from None
    profiles, links = resolve_fleet(spec)
    engines = {SiteName(site.name): resolve_engine(site) for site in spec.sites}
    remote = tuple(SiteName(name) for name in spec.remote)
    return Fleet(profiles, links, span_us(spec.lease) or LEASE_US, remote, engines)


_MEMORY_STEP = 256 << 20  # a machine's memory is told in these, rounded down


def this_machine() -> SiteProfile:
    """A site that is this machine: its cores and memory are real, its power and prices are guesses and said to be."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MEMORY_STEP * _MEMORY_STEP
    flavor = Flavor(
        FlavorName("machine"), 1, cores, memory, idle_w=20, peak_w=20 + 10 * cores, price_micro_yen_per_hour=0
    )
    return SiteProfile(
        name=LOCAL,
        engine="host",
        jurisdiction=os.environ.get("MOYAI_JURISDICTION", NOWHERE),
        latitude_microdeg=0,
        longitude_microdeg=0,
        flavors=(flavor,),
        price_micro_yen_per_kwh=31_000_000,
        carbon_mg_per_kwh=430_000,
        synthetic=True,
    )
