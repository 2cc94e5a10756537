"""A job on a pool that has room for it now: when it would run, on which nodes, and what that takes."""

from moyai.facility.grid import electricity_micro_yen, energy_j
from moyai.model.events import Placement
from moyai.model.site import SiteProfile
from moyai.model.units import MICROS_PER_HOUR, Instant
from moyai.model.workload import Need
from moyai.plan.lanes import Arrival, Lanes
from moyai.plan.problem import LEAST_LEFT, Option, run_cost
from moyai.plan.types import Planned, Policy, QueuedJob
from moyai.twin.policies.nodes import Choice, Chosen
from moyai.twin.policies.pools import Nodes, Pool

_NOTHING = Arrival(0, 0, 0, ())


class Offer:
    """The way to run a job in a pool that ends soonest if it is issued at an instant."""

    __slots__ = ("arrival", "end", "option", "run_us", "start")

    def __init__(self, job: QueuedJob, options: tuple[Option, ...], lanes: Lanes, at: Instant) -> None:
        """Of several ways that end together, the first."""
        best: tuple[int, int, Option, int, Arrival] | None = None
        for option in options:
            arrival = lanes.arrival(option.moves, option.site, at) if option.moves else _NOTHING
            start = max(at, arrival.at)
            run_us = max(job.run_us - option.covered_us, job.run_us // LEAST_LEFT, 1)
            if best is None or start + run_us < best[0]:
                best = (start + run_us, start, option, run_us, arrival)
        assert best is not None, "a pool without a way to run the job"
        self.end, self.start, self.option, self.run_us, self.arrival = best


class Bid:
    """A job, a pool, and an offer there. The nodes are chosen when first asked for."""

    __slots__ = ("_choice", "_chosen", "job", "nodes", "offer", "pool", "profile")

    def __init__(
        self, job: QueuedJob, pool: Pool, offer: Offer, *, nodes: Nodes, profile: SiteProfile, choice: Choice
    ) -> None:
        """`nodes` are those of the pool, with what the job may take of them."""
        self.job, self.pool, self.offer, self.nodes, self.profile = job, pool, offer, nodes, profile
        self._choice = choice
        self._chosen: Chosen | None = None

    @property
    def need(self) -> Need:
        """Of one rank."""
        return self.job.order.need

    @property
    def chosen(self) -> Chosen:
        """Its nodes and their mark."""
        if self._chosen is None:
            self._chosen = self._choice(self.nodes, self.pool.flavor, self.need, self.job.order.nodes)
        return self._chosen

    @property
    def cost_micro_yen(self) -> int:
        """Electricity, nodes and egress; carbon apart."""
        offer, option = self.offer, self.offer.option
        cost = electricity_micro_yen(option.power_w, offer.run_us, self.profile.price_micro_yen_per_kwh)
        cost += self.job.order.nodes * option.flavor.price_micro_yen_per_hour * offer.run_us // MICROS_PER_HOUR
        return cost + offer.arrival.egress_micro_yen

    def planned(self, policy: Policy) -> Planned:
        """As a plan says it, with production's figures."""
        offer, option = self.offer, self.offer.option
        carbon, cost = run_cost(
            self.profile,
            option.flavor,
            self.job.order.nodes,
            power_w=option.power_w,
            run_us=offer.run_us,
            policy=policy,
        )
        placement = Placement(
            site=option.site,
            flavor=option.flavor.name,
            nodes=tuple(node for node, count in self.chosen[0] for _ in range(count)),
            start=Instant(offer.start),
            end=Instant(offer.end),
            power_w=option.power_w,
            cost_micro_yen=cost + offer.arrival.egress_micro_yen,
            energy_j=energy_j(option.power_w, offer.run_us),
            carbon_mg=carbon,
            considered=(),
        )
        return Planned(self.job.job, placement, option.restore, option.covered_us)
