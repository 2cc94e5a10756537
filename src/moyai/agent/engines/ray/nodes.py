"""What a Ray cluster's nodes have, in the flavors of its site; what an attempt takes of them. Pure.

A flavor's node is a share of a Ray node, so that one big Ray node may stand for several small ones. Amounts are by
Ray's names: "CPU" in cores, "GPU" in pieces, "memory" in bytes, others as the cluster's operator named them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from moyai.agent.engines.ray.rest import RayNode
from moyai.model.commands import Launch
from moyai.model.site import Flavor, SiteProfile
from moyai.model.workload import Need

GPU = "GPU"
TYPE = "accelerator_type:"
"""Ray's own mark of a node with accelerators of a type."""
MARK = 0.001
"""How much is asked of a resource that only says which nodes will do."""
_EASE = 1e-6
"""Ray counts in ten-thousandths."""

Amounts = dict[str, float]


class Cluster:
    """The nodes of a Ray cluster that are alive, beside the flavors of the site."""

    def __init__(self, profile: SiteProfile, accelerators: Mapping[str, str], nodes: Sequence[RayNode] = ()) -> None:
        """`accelerators`: our accelerator type → the resource that stands for it."""
        self._profile = profile
        self._accelerators = accelerators
        self._nodes = [node.resources_total for node in nodes if node.alive]
        self._offered = frozenset(name for node in self._nodes for name in node)

    def amounts(self, need: Need, flavor: str) -> Amounts:
        """What one rank takes of its node.

        A resource of the flavor's name, and Ray's mark of an accelerator type, are asked for where a node offers it.
        """
        amounts: Amounts = {"CPU": need.cores}
        if need.memory_bytes:
            amounts["memory"] = need.memory_bytes
        if need.accelerators:
            name = self._accelerators.get(need.accelerator, GPU)
            amounts[name] = need.accelerators
            if name == GPU and TYPE + need.accelerator in self._offered:
                amounts[TYPE + need.accelerator] = MARK
        if flavor in self._offered:
            amounts.setdefault(flavor, MARK)
        return amounts

    def capacity(self) -> tuple[Flavor, ...]:
        """How many nodes of each flavor there are now, at most as many as the profile says. The big ones first."""
        left = [dict(node) for node in self._nodes]
        count: dict[str, int] = {}
        for flavor in sorted(self._profile.flavors, key=lambda f: (-f.accelerators, -f.cores, -f.memory_bytes)):
            amounts = self._of_flavor(flavor)
            count[flavor.name] = 0
            for node in left:
                found = min(_times(node, amounts), flavor.count - count[flavor.name])
                count[flavor.name] += found
                for name, amount in amounts.items():
                    if amount != MARK:
                        node[name] = node.get(name, 0) - amount * found
        return tuple(replace(flavor, count=count[flavor.name]) for flavor in self._profile.flavors)

    def spread(self, launch: Launch) -> str:
        """How a gang lies: each rank on a node of its own where a Ray node is no more than one node of the flavor."""
        flavor = self._profile.flavor(launch.flavor)
        if flavor is None or any(_times(node, self._of_flavor(flavor)) > 1 for node in self._nodes):
            return "SPREAD"
        return "STRICT_SPREAD"

    def impossible(self, launch: Launch) -> str:
        """Why the cluster's nodes could not run it even if nothing else ran; "" where they could, or aren't known."""
        if not self._nodes:
            return ""
        amounts = self.amounts(launch.need, launch.flavor)
        times = [_times(node, amounts) for node in self._nodes]
        if not any(times):
            return f"no node of the Ray cluster has {self._lacking(amounts)}"
        strict = len(launch.nodes) > 1 and self.spread(launch) == "STRICT_SPREAD"
        found = sum(min(each, 1) if strict else each for each in times)
        if found < len(launch.nodes):
            return f"the Ray cluster has room for {found} of its {len(launch.nodes)} ranks"
        return ""

    def _of_flavor(self, flavor: Flavor) -> Amounts:
        need = Need(flavor.cores, flavor.memory_bytes, flavor.accelerator, flavor.accelerators)
        return self.amounts(need, flavor.name)

    def _lacking(self, amounts: Amounts) -> str:
        """The first thing that every node has too little of, or all of them where it is their combination."""
        for name, amount in amounts.items():
            most = max(node.get(name, 0) for node in self._nodes)
            if most + _EASE < amount:
                return f"{_words(name, amount)}: the most is {_words(name, most)}"
        return " and ".join(_words(name, amount) for name, amount in amounts.items()) + " together"


def _times(node: Mapping[str, float], amounts: Amounts) -> int:
    """How many times a node holds `amounts`, apart from marks, which don't run out."""
    times = [
        int((node.get(name, 0) + _EASE) / amount) if amount != MARK else (1 << 30) * (node.get(name, 0) > 0)
        for name, amount in amounts.items()
        if amount > 0
    ]
    return max(0, min(times, default=0))


def _words(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / (1 << 30):.1f} GiB of memory"
    return f"{amount:g} {name}"
