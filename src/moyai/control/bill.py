"""What an attempt cost, from its measured run time and its energy, at the prices of its site."""

from dataclasses import dataclass

from moyai.model.events import Placement
from moyai.model.quick import quick
from moyai.model.site import SiteProfile
from moyai.model.units import J_PER_KWH, MICROS_PER_HOUR


@quick
@dataclass(frozen=True, slots=True)
class Bill:
    """Money and carbon of one attempt, data moves not included."""

    cost_micro_yen: int
    carbon_mg: int


def bill(profile: SiteProfile, placement: Placement, run_us: int, energy_j: int) -> Bill:
    """Electricity at the site's price and the nodes at their list price; carbon at the site's intensity.

    `energy_j` is energy in J at the site's feed, behind its PUE. A node that is shared is paid by rank.
    """
    flavor = profile.flavor(placement.flavor)
    nodes = len(placement.nodes) * (flavor.price_micro_yen_per_hour if flavor else 0) * run_us // MICROS_PER_HOUR
    return Bill(
        cost_micro_yen=nodes + energy_j * profile.price_micro_yen_per_kwh // J_PER_KWH,
        carbon_mg=energy_j * profile.carbon_mg_per_kwh // J_PER_KWH,
    )
