"""Which sites could ever hold a job, empty: the same rules as the planner's, asked before anything starts."""

from moyai.facility.power import attempt_power_w, idle_power_w
from moyai.model.ids import SiteName
from moyai.model.site import SiteProfile, within
from moyai.model.workload import Need
from moyai.plan.pack import ranks_per_node


class Room:
    """The sites of a scenario, asked often for the same few needs."""

    def __init__(self, profiles: tuple[SiteProfile, ...]) -> None:
        self._profiles = profiles
        self._idle_w = {profile.name: idle_power_w(profile) for profile in profiles}
        self._known: dict[tuple[Need, int], frozenset[SiteName]] = {}
        self.accelerators: dict[str, int] = {}  # type → how many of it all sites have
        for profile in profiles:
            for flavor in profile.flavors:
                if flavor.accelerators:
                    had = self.accelerators.get(flavor.accelerator, 0)
                    self.accelerators[flavor.accelerator] = had + flavor.accelerators * flavor.count

    def sites(self, need: Need, nodes: int) -> frozenset[SiteName]:
        """The sites that could hold `nodes` ranks of `need` if nothing ran there."""
        found = self._known.get((need, nodes))
        if found is None:
            found = self._known[need, nodes] = frozenset(
                profile.name for profile in self._profiles if self._holds(profile, need, nodes)
            )
        return found

    def within(self, residency: tuple[str, ...]) -> frozenset[SiteName]:
        """The sites where `residency` allows something to be."""
        return frozenset(p.name for p in self._profiles if within(p.jurisdiction, residency))

    def _holds(self, profile: SiteProfile, need: Need, nodes: int) -> bool:
        for flavor in profile.flavors:
            if ranks_per_node(flavor, need) * flavor.count < nodes:
                continue
            drawn = self._idle_w[profile.name] + attempt_power_w(need, nodes, flavor, profile.pue_milli)
            if not profile.power_cap_w or drawn <= profile.power_cap_w:
                return True
        return False
