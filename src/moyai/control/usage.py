"""What the live attempts hold of each node, and of each site's power."""

from dataclasses import dataclass

from moyai.facility.power import idle_power_w
from moyai.model.events import Placement
from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import SiteProfile
from moyai.model.workload import Need


@dataclass(slots=True)
class NodeUse:
    """What is taken of one node."""

    cores: int = 0
    memory_bytes: int = 0
    accelerators: int = 0


@dataclass(slots=True)
class FlavorHeld:
    """What is taken of all nodes of a flavor together, and of how many of them something is."""

    nodes: int = 0
    cores: int = 0
    accelerators: int = 0


class Usage:
    """Sums over the live attempts: taken when one is issued, given back when it ended or is presumed dead."""

    __slots__ = ("_nodes", "_power_w")

    def __init__(self) -> None:
        self._nodes: dict[tuple[SiteName, FlavorName, int], NodeUse] = {}
        self._power_w: dict[SiteName, int] = {}

    def take(self, placement: Placement, need: Need, sign: int = 1) -> None:
        """Add what `placement` holds; with sign −1, give it back."""
        nodes, site, flavor = self._nodes, placement.site, placement.flavor
        cores, memory, accelerators = sign * need.cores, sign * need.memory_bytes, sign * need.accelerators
        for index in placement.nodes:
            key = (site, flavor, index)
            use = nodes.get(key)
            if use is None:
                use = nodes[key] = NodeUse()
            use.cores += cores
            use.memory_bytes += memory
            use.accelerators += accelerators
            if not (use.cores or use.memory_bytes or use.accelerators):
                del nodes[key]
        self._power_w[site] = self._power_w.get(placement.site, 0) + sign * placement.power_w

    def node(self, site: SiteName, flavor: FlavorName, index: int) -> NodeUse:
        """What is taken of one node."""
        return self._nodes.get((site, flavor, index), NodeUse())

    def power_w(self, site: SiteName) -> int:
        """What the live attempts of a site draw at its feed, idle nodes not included."""
        return self._power_w.get(site, 0)

    def held(self) -> dict[tuple[SiteName, FlavorName], "FlavorHeld"]:
        """What is taken of each flavor's nodes together; flavors of which nothing is are left out."""
        sums: dict[tuple[SiteName, FlavorName], FlavorHeld] = {}
        for (site, flavor, _), use in self._nodes.items():
            held = sums.get((site, flavor))
            if held is None:
                held = sums[site, flavor] = FlavorHeld()
            held.nodes += 1
            held.cores += use.cores
            held.accelerators += use.accelerators
        return sums

    def fits(self, profile: SiteProfile, placement: Placement, need: Need) -> bool:
        """Whether `placement` fits beside what is held, on every node and under the site's power cap."""
        flavor = profile.flavor(placement.flavor)
        if flavor is None or (need.accelerators and flavor.accelerator != need.accelerator):
            return False
        ranks: dict[int, int] = {}
        for index in placement.nodes:
            ranks[index] = ranks.get(index, 0) + 1
        for index, count in ranks.items():
            use = self.node(profile.name, flavor.name, index)
            if (
                not 0 <= index < flavor.count
                or use.cores + count * need.cores > flavor.cores
                or use.memory_bytes + count * need.memory_bytes > flavor.memory_bytes
                or use.accelerators + count * need.accelerators > flavor.accelerators
            ):
                return False
        if not profile.power_cap_w:
            return True
        drawn = idle_power_w(profile) + self.power_w(profile.name) + placement.power_w
        return drawn <= profile.power_cap_w
