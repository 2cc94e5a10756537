"""Sites, their flavors, and the links between them, as they stand in the log."""

from dataclasses import dataclass

from moyai.model.ids import FlavorName, SiteName


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind of node at a site, and how many of it there are."""

    name: FlavorName
    count: int
    cores: int
    memory_bytes: int
    accelerator: str = ""  # "" for a node without accelerators
    accelerators: int = 0  # of one node
    idle_w: int = 0
    peak_w: int = 0
    price_micro_yen_per_hour: int = 0  # of one node, beside its electricity


@dataclass(frozen=True, slots=True)
class SiteProfile:
    """What a site is: one place, one jurisdiction, one engine, one power feed."""

    name: SiteName
    engine: str  # "host", later "ssh", "slurm", "ray"
    jurisdiction: str  # ISO 3166: "JP", or with its subdivision "JP-40"
    latitude_microdeg: int
    longitude_microdeg: int
    flavors: tuple[Flavor, ...]
    price_micro_yen_per_kwh: int
    carbon_mg_per_kwh: int
    pue_milli: int = 1_000  # 1,000 is a PUE of 1.0
    power_cap_w: int = 0  # of the whole site behind its PUE; 0: no cap
    synthetic: bool = False  # a profile that was made up, and is shown as such

    def flavor(self, name: FlavorName) -> Flavor | None:
        """The flavor of that name, or None."""
        return next((f for f in self.flavors if f.name == name), None)


@dataclass(frozen=True, slots=True)
class Link:
    """The path between two sites, the same in both directions. `a` < `b`."""

    a: SiteName
    b: SiteName
    bytes_per_second: int
    latency_us: int
    egress_micro_yen_per_gb: int = 0  # per 10^9 bytes

    def transfer_us(self, size_bytes: int) -> int:
        """Time to move `size_bytes` over the idle link, in microseconds, rounded up."""
        return self.latency_us + -(-size_bytes * 1_000_000 // self.bytes_per_second)

    def egress_micro_yen(self, size_bytes: int) -> int:
        """Price of moving `size_bytes`, in micro-yen, rounded up."""
        return -(-size_bytes * self.egress_micro_yen_per_gb // 1_000_000_000)


def link_key(a: SiteName, b: SiteName) -> tuple[SiteName, SiteName]:
    """The key of the link between two sites, whichever is named first."""
    return (a, b) if a < b else (b, a)


def within(jurisdiction: str, residency: tuple[str, ...]) -> bool:
    """Whether a place in `jurisdiction` satisfies `residency`: any of its codes, "JP" holding all of "JP-…".

    An empty residency allows every place.
    """
    return not residency or any(jurisdiction == code or jurisdiction.startswith(code + "-") for code in residency)
