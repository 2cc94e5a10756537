"""Power of nodes, and what of it an attempt draws. Modelled; a measured figure always goes before it.

A site draws, at its feed, what its idle nodes draw and what its attempts draw beyond that, both times its PUE. An
attempt is charged for its own part alone: the idle part is there whether it runs or not.
"""

from math import ceil

from moyai.model.site import Flavor, SiteProfile
from moyai.model.workload import Need

ACCELERATOR_SHARE = 0.8
"""Part of a node's load-dependent power that its accelerators draw, where it has any; cores draw the rest.

Four accelerators of 472 W and a CPU of 190 W above idle are 0.91 (Frontier, as in RAPS); eight of 600 W beside two CPUs
of 300 W and fans are 0.8.
"""


def node_power_w(flavor: Flavor, load: float, exponent: float = 1.0) -> float:
    """Power of one node in W, before the PUE, at a load from 0 to 1: idle + (peak − idle) · load^exponent.

    Raises ValueError where the load is outside 0 … 1. Source: RAPS; exponents near 1 fit accelerators.
    """
    if not 0.0 <= load <= 1.0:
        raise ValueError(f"load {load} is outside 0 … 1")
    return flavor.idle_w + (flavor.peak_w - flavor.idle_w) * load**exponent


def node_load(need: Need, flavor: Flavor) -> float:
    """Load from 0 to 1 that one rank puts on its node; the loads of ranks that fit on one node sum to at most 1."""
    cores = min(1.0, need.cores / flavor.cores) if flavor.cores else 0.0
    if not flavor.accelerators:
        return cores
    accelerators = min(1.0, need.accelerators / flavor.accelerators)
    return ACCELERATOR_SHARE * accelerators + (1.0 - ACCELERATOR_SHARE) * cores


def feed_power_w(node_w: float, pue_milli: int) -> float:
    """Power at the site's feed, in W, for `node_w` at its nodes."""
    return node_w * pue_milli / 1_000


def attempt_power_w(need: Need, ranks: int, flavor: Flavor, pue_milli: int) -> int:
    """What `ranks` ranks draw at the site's feed beyond the idle power of their nodes, in W, rounded up."""
    above_idle = node_power_w(flavor, node_load(need, flavor)) - flavor.idle_w
    return ceil(round(feed_power_w(ranks * above_idle, pue_milli), 6))


def idle_power_w(profile: SiteProfile) -> int:
    """What a site draws at its feed with nothing running, in W, rounded up."""
    return -(-sum(f.count * f.idle_w for f in profile.flavors) * profile.pue_milli // 1_000)


def peak_power_w(profile: SiteProfile) -> int:
    """What a site draws at its feed with every node at full load, in W, rounded up."""
    return -(-sum(f.count * f.peak_w for f in profile.flavors) * profile.pue_milli // 1_000)
