"""What is free in the fleet now, carried from call to call: only what changed in a snapshot is looked at."""

from collections.abc import Mapping
from dataclasses import replace

from moyai.facility.power import idle_power_w
from moyai.model.ids import AttemptId, JobId, SiteName
from moyai.model.site import Link, SiteProfile
from moyai.model.workload import Need
from moyai.plan.pack import size_of
from moyai.plan.problem import PoolKey
from moyai.plan.types import Busy, Planned, SiteView, Snapshot
from moyai.twin.policies.changes import changes
from moyai.twin.policies.pools import Hold, Pool, ranks_by_node

Place = tuple[Pool | None, Hold]
"""The pool (None: the fleet has no such pool) and what is held there."""


class Board:
    """The pools of the fleet and the power that its capped sites have left.

    `rules` rises when something changed that decides which site may take which job; prices and carbon do not count.
    """

    __slots__ = ("_busy", "_held", "_links", "_planned", "pools", "rules", "sites", "spare_w")

    def __init__(self) -> None:
        """A board without sites."""
        self.sites: dict[SiteName, SiteView] = {}  # by name
        self.pools: dict[PoolKey, Pool] = {}  # by name
        self.spare_w: dict[SiteName, int] = {}  # of the capped sites
        self.rules = 0
        self._links: Mapping[tuple[SiteName, SiteName], Link] = {}
        self._busy: tuple[Busy, ...] = ()
        self._held: dict[AttemptId, tuple[Busy, Place]] = {}
        self._planned: dict[JobId, Place] = {}  # by the plan before, not yet seen as attempts

    def sync(self, snapshot: Snapshot) -> None:
        """Become what a snapshot says."""
        self._note_sites(snapshot)
        self._note_busy(snapshot.busy)
        for pool, hold in self._planned.values():
            self._drop(pool, hold)
        self._planned.clear()
        self._busy = snapshot.busy

    def take(self, planned: Planned, need: Need) -> None:
        """Hold what was placed just now, until the next snapshot tells what became of it."""
        placement = planned.placement
        pool = self.pools[placement.site, placement.flavor]
        ranks = ranks_by_node(placement.nodes, pool.flavor.count)
        name = f"{planned.job} planned"  # never the id of an attempt
        hold = Hold(name, placement.site, ranks, size_of(need), placement.power_w, placement.end)
        self._add(pool, hold)
        self._planned[planned.job] = (pool, hold)

    def fits_power(self, site: SiteName, power_w: int) -> bool:
        """Whether a site may draw so much more now."""
        spare_w = self.spare_w.get(site)
        return spare_w is None or power_w <= spare_w

    def _note_busy(self, busy: tuple[Busy, ...]) -> None:
        held = self._held
        gone, come = changes(self._busy, busy, _attempt)
        for b in gone:
            _, place = held.pop(b.attempt)
            self._drop(*place)
        for b in come:
            known = held.get(b.attempt)
            held[b.attempt] = (b, self._arrive(b) if known is None else self._change(*known, b))

    def _arrive(self, busy: Busy) -> Place:
        """A new attempt: most often what the plan before placed."""
        planned = self._planned.get(busy.job)
        pool, hold = self._place_of(busy)
        if planned is not None and _same(planned, pool, hold):
            del self._planned[busy.job]
            if pool is not None:
                pool.renew(planned[1], hold)
            return pool, hold
        self._add(pool, hold)
        return pool, hold

    def _change(self, old: Busy, place: Place, new: Busy) -> Place:
        """An attempt that is told anew: most often its end moved."""
        pool, hold = place
        if (old.site, old.flavor, old.nodes, old.need, old.power_w) == (
            new.site, new.flavor, new.nodes, new.need, new.power_w,
        ):  # fmt: skip
            if pool is None or old.end == new.end:
                return place
            moved = replace(hold, end=new.end)
            pool.renew(hold, moved)
            return pool, moved
        self._drop(pool, hold)
        fresh = self._place_of(new)
        self._add(*fresh)
        return fresh

    def _place_of(self, busy: Busy) -> Place:
        pool = self.pools.get((busy.site, busy.flavor))
        ranks = ranks_by_node(busy.nodes, pool.flavor.count) if pool is not None else ()
        return pool, Hold(busy.attempt, busy.site, ranks, size_of(busy.need), busy.power_w, busy.end)

    def _add(self, pool: Pool | None, hold: Hold) -> None:
        if pool is not None:
            pool.add(hold)
        if hold.site in self.spare_w:
            self.spare_w[hold.site] -= hold.power_w

    def _drop(self, pool: Pool | None, hold: Hold) -> None:
        if pool is not None:
            pool.drop(hold)
        if hold.site in self.spare_w:
            self.spare_w[hold.site] += hold.power_w

    def _note_sites(self, snapshot: Snapshot) -> None:
        sites = {view.profile.name: view for view in sorted(snapshot.sites, key=lambda v: v.profile.name)}
        if sites != self.sites:
            old, self.sites = self.sites, sites
            if {n: _lasting(v) for n, v in old.items()} != {n: _lasting(v) for n, v in sites.items()}:
                self.rules += 1
            if {n: _grounds(v.profile) for n, v in old.items()} != {n: _grounds(v.profile) for n, v in sites.items()}:
                self._rebuild()
        if snapshot.links is not self._links and snapshot.links != self._links:
            self.rules += 1
        self._links = snapshot.links

    def _rebuild(self) -> None:
        """Other nodes or caps: everything anew."""
        pairs = [(s, f) for s, v in self.sites.items() for f in sorted(v.profile.flavors, key=lambda f: f.name)]
        since = max((pool.version for pool in self.pools.values()), default=0) + 1
        self.pools = {(site, flavor.name): Pool(site, flavor, i, since) for i, (site, flavor) in enumerate(pairs)}
        profiles = [v.profile for v in self.sites.values()]
        self.spare_w = {p.name: p.power_cap_w - idle_power_w(p) for p in profiles if p.power_cap_w}
        self._planned.clear()
        for attempt, (busy, _) in list(self._held.items()):
            place = self._place_of(busy)
            self._add(*place)
            self._held[attempt] = (busy, place)


def _attempt(busy: Busy) -> AttemptId:
    return busy.attempt


def _same(planned: Place, pool: Pool | None, hold: Hold) -> bool:
    known = planned[1]
    return planned[0] is pool and (known.ranks, known.size, known.power_w) == (hold.ranks, hold.size, hold.power_w)


def _lasting(view: SiteView) -> SiteView:
    """A site less what changes from hour to hour and decides nothing about where a job may be."""
    return replace(view, profile=replace(view.profile, price_micro_yen_per_kwh=0, carbon_mg_per_kwh=0))


def _grounds(profile: SiteProfile) -> tuple[object, ...]:
    """What its pools and its feed are made from."""
    return profile.flavors, profile.power_cap_w, profile.pue_milli
