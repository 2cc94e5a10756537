"""What jobs of one make could have at each site and flavor: found once by the hard rules, then used in arrays.

A column is a site and a flavor of it: `site · flavors + flavor`, sites by name, as many flavors as the widest site has.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from moyai.facility.power import attempt_power_w, idle_power_w
from moyai.model.ids import ManifestId
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.site import Flavor
from moyai.model.units import MICRO_YEN, MICROS_PER_HOUR, Instant
from moyai.model.workload import Need
from moyai.plan.lanes import Lane, Lanes, Move
from moyai.plan.price.instance import F64, I64, Bool
from moyai.plan.problem import Option, Problem, job_class, moves_to, site_options
from moyai.plan.rules import data_rule, flavor_rule, site_rule
from moyai.plan.types import DataView, Policy, QueuedJob, SiteView, Snapshot

Make = tuple[object, ...]
"""What jobs of one make have in common: need, ranks, rules and data."""
Moves = tuple[Move, ...]
Restore = tuple[ManifestId | None, int]
"""A checkpoint, and the run time in µs that it covers."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The fleet as columns."""

    sites: tuple[SiteView, ...]  # by name
    rules: tuple[SiteView, ...]  # the same without what changes by the hour: all that a shape depends on
    flavors: tuple[tuple[Flavor, ...], ...]  # of each site, by name
    width: int  # flavors of the widest site

    @property
    def count(self) -> int:
        """How many columns there are, those without a flavor among them."""
        return len(self.sites) * self.width

    def at(self, column: int) -> tuple[SiteView, Flavor] | None:
        """Site and flavor of a column; None where the site has no such flavor."""
        site, flavor = divmod(column, self.width)
        kinds = self.flavors[site]
        return (self.sites[site], kinds[flavor]) if flavor < len(kinds) else None


def columns_of(sites: Sequence[SiteView]) -> Columns:
    """The columns of a fleet."""
    ordered = tuple(sorted(sites, key=lambda s: s.profile.name))
    flavors = tuple(tuple(sorted(s.profile.flavors, key=lambda f: f.name)) for s in ordered)
    return Columns(ordered, tuple(map(_unpriced, ordered)), flavors, max((len(f) for f in flavors), default=1) or 1)


def _unpriced(view: SiteView) -> SiteView:
    return replace(view, profile=replace(view.profile, price_micro_yen_per_kwh=0, carbon_mg_per_kwh=0))


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What a make of jobs could have. Arrays are (columns,).

    feasible  the hard rules allow it, on an empty fleet
    units     accelerators, or cores where it asks for none, that one job keeps others from; one figure for all columns,
              the least, so that the bound stays one
    power_w   of one job, at the feed
    nodes     yen per hour for its nodes
    delay     hours until its data is there, on idle links
    egress    yen
    covered   hours of its run that a checkpoint spares
    moves     of each column, what must come before a job of the make starts
    restore   of each column, what it goes on from
    """

    feasible: Bool
    units: int
    power_w: I64
    nodes: F64
    delay: F64
    egress: F64
    covered: F64
    moves: tuple[Moves, ...]
    restore: tuple[Restore, ...]
    asked: "Asked"

    @property
    def kw(self) -> F64:
        """(columns,) of one job, at the feed."""
        return self.power_w / 1_000

    @property
    def excluded(self) -> tuple[Considered | None, ...]:
        """(sites,) the row that tells why a site is out, or None; worked out when it is asked for."""
        known = self.asked.excluded
        if known is None:
            known = self.asked.excluded = self.asked.rows()
        return known


@dataclass(slots=True, eq=False)
class Asked:
    """What a shape was made from, so that it can tell its reasons."""

    problem: Problem
    columns: Columns
    job: QueuedJob
    avoided: bool  # the sites that failed the job are left out
    excluded: tuple[Considered | None, ...] | None = None

    def rows(self) -> tuple[Considered | None, ...]:
        """(sites,) the rows of the sites that are out."""
        cls = job_class(self.job, self.problem.now, self.problem.policy)
        cls.jobs.append(self.job)
        found: list[Considered | None] = []
        for view in self.columns.sites:
            options = site_options(self.problem, cls, view, Counter())
            if isinstance(options, Considered):
                found.append(options)
            elif self.avoided and view.profile.name in self.job.avoid:
                reason = Reason(Code.AVOIDED)
                found.append(Considered(view.profile.name, "", False, reason))
            else:
                found.append(None)
        return tuple(found)


def make_of(job: QueuedJob, data: Make) -> Make:
    """What the shape of a job depends on; `data` is the `data_key` of its data."""
    order, need = job.order, job.order.need
    return (
        (need.cores, need.memory_bytes, need.accelerator, need.accelerators, order.nodes),
        data,
        job.resumes and tuple((d.manifest, d.sites, covered) for d, covered in job.resumes),
        (job.capabilities, order.capabilities, job.restricted, order.residency, job.avoid),
    )


def data_key(data: tuple[DataView, ...]) -> Make:
    """What of its data the shape of a job depends on."""
    return tuple((d.manifest, d.sites, d.residency, d.purposes, d.purpose, d.name) for d in data)


def rules_problem(columns: Columns, snapshot: Snapshot, now: Instant, policy: Policy) -> Problem:
    """A problem without a queue: what the hard rules need to know of the fleet."""
    idle_w = {s.profile.name: idle_power_w(s.profile) for s in columns.sites if s.profile.power_cap_w}
    return Problem(snapshot, now, policy, columns.sites, idle_w, Lanes(now), (), ())


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Where jobs of one need and number of ranks fit on empty nodes. Arrays are (columns,)."""

    fits: Bool
    power_w: I64
    nodes: F64  # yen per hour
    units: I64
    plain: Bool  # nodes without accelerators


@dataclass(frozen=True, slots=True, eq=False)
class _Reach:
    """Where the rules of a job and its data let it be. Arrays are (sites,)."""

    open: Bool
    delay: F64  # hours
    egress: F64  # yen
    moves: tuple[Moves, ...]


@dataclass(slots=True, eq=False)
class Parts:
    """What shapes are put together from, for one look: makes share their nodes and their data with many others."""

    problem: Problem
    columns: Columns
    _fits: dict[object, _Fit] = field(default_factory=dict[object, _Fit])
    _reaches: dict[object, _Reach] = field(default_factory=dict[object, _Reach])

    def fit(self, job: QueuedJob, key: object) -> _Fit:
        """Where a job's ranks fit; `key` tells its need and ranks from others."""
        known = self._fits.get(key)
        if known is None:
            known = self._fits[key] = self._fit(job)
        return known

    def reach(self, job: QueuedJob, key: object) -> _Reach:
        """Where a job may be; `key` tells its rules and data from others."""
        known = self._reaches.get(key)
        if known is None:
            known = self._reaches[key] = self._reach(job)
        return known

    def _fit(self, job: QueuedJob) -> _Fit:
        columns, need, ranks = self.columns, job.order.need, job.order.nodes
        fits, plain = np.zeros(columns.count, np.bool_), np.zeros(columns.count, np.bool_)
        power_w, units = np.zeros(columns.count, np.int64), np.zeros(columns.count, np.int64)
        nodes = np.zeros(columns.count)
        for column in range(columns.count):
            at = columns.at(column)
            if at is None:
                continue
            profile, flavor = at[0].profile, at[1]
            if flavor_rule(profile, flavor, job, self.problem.idle_w.get(profile.name, 0)) is not None:
                continue
            fits[column], plain[column] = True, not flavor.accelerators
            power_w[column] = attempt_power_w(need, ranks, flavor, profile.pue_milli)
            nodes[column] = ranks * flavor.price_micro_yen_per_hour / MICRO_YEN
            units[column] = ranks * units_of(need, flavor)
        return _Fit(fits, power_w, nodes, units, plain)

    def _reach(self, job: QueuedJob) -> _Reach:
        columns, problem = self.columns, self.problem
        links = problem.snapshot.links
        open_ = np.zeros(len(columns.sites), np.bool_)
        delay, egress = np.zeros(len(columns.sites)), np.zeros(len(columns.sites))
        moves: list[Moves] = []
        for s, view in enumerate(columns.sites):
            name = view.profile.name
            open_[s] = site_rule(view, job) is None and all(data_rule(d, name, links) is None for d in job.data)
            mine = moves_to(problem, job.data, name, Counter()) if open_[s] and job.data else ()
            moves.append(mine)
            delay[s] = _delay_us(mine) / MICROS_PER_HOUR
            egress[s] = sum(m.egress_micro_yen for m in mine) / MICRO_YEN
        return _Reach(open_, delay, egress, tuple(moves))


def shape_of(parts: Parts, job: QueuedJob, make: Make) -> Shape:
    """The shape of a job's make, which `make_of` told."""
    columns = parts.columns
    width = columns.width
    fit = parts.fit(job, make[0])
    if job.resumes:
        fits, delay, egress, covered, moves, restore = _resuming(parts, job)
    else:
        reach = parts.reach(job, make[1:])
        fits, covered = fit.fits & np.repeat(reach.open, width), np.zeros(columns.count)
        delay, egress = np.repeat(reach.delay, width), np.repeat(reach.egress, width)
        moves = tuple(mine for mine in reach.moves for _ in range(width))
        restore = ((None, 0),) * columns.count
    feasible, avoided = _chosen(columns, job, fits, fit.plain)
    return Shape(
        feasible=feasible,
        units=int(fit.units[feasible].min()) if feasible.any() else 1,
        power_w=np.where(feasible, fit.power_w, 0),
        nodes=np.where(feasible, fit.nodes, 0.0),
        delay=np.where(feasible, delay, 0.0),
        egress=np.where(feasible, egress, 0.0),
        covered=np.where(feasible, covered, 0.0),
        moves=moves,
        restore=restore,
        asked=Asked(parts.problem, columns, job, avoided),
    )


def _chosen(columns: Columns, job: QueuedJob, fits: Bool, plain: Bool) -> tuple[Bool, bool]:
    """(columns,) where a job shall be of all that the rules allow; and whether sites that failed it are left out.

    Sites that failed the job a moment ago are left out where others could take it, and nodes with accelerators where a
    job without any has others.
    """
    feasible, avoided = fits, False
    if job.avoid and fits.any():
        failed = np.repeat([s.profile.name in job.avoid for s in columns.sites], columns.width)
        avoided = bool((fits & ~failed).any())
        feasible = fits & ~failed if avoided else fits
    if not job.order.need.accelerators and (feasible & plain).any():
        feasible = feasible & plain
    return feasible, avoided


def _resuming(parts: Parts, job: QueuedJob) -> tuple[Bool, F64, F64, F64, tuple[Moves, ...], tuple[Restore, ...]]:
    """Of a job with checkpoints: where it fits, and delay, egress, covered, moves and restore as in `Shape`.

    At each column by the checkpoint with which it is worth most.
    """
    problem, columns = parts.problem, parts.columns
    cls = job_class(job, problem.now, problem.policy)
    cls.jobs.append(job)
    best: list[Option | None] = []
    for view, flavors in zip(columns.sites, columns.flavors, strict=True):
        found = site_options(problem, cls, view, Counter())
        options = () if isinstance(found, Considered) else found
        for n in range(columns.width):
            mine = [o for o in options if n < len(flavors) and o.flavor.name == flavors[n].name]
            best.append(max(mine, key=lambda o: cls.best_value(o, o.soonest), default=None))
    return (
        np.array([o is not None for o in best]),
        np.array([_delay_us(o.moves) / MICROS_PER_HOUR if o else 0.0 for o in best]),
        np.array([sum(m.egress_micro_yen for m in o.moves) / MICRO_YEN if o else 0.0 for o in best]),
        np.array([o.covered_us / MICROS_PER_HOUR if o else 0.0 for o in best]),
        tuple(o.moves if o else () for o in best),
        tuple((o.restore, o.covered_us) if o else (None, 0) for o in best),
    )


def units_of(need: Need, flavor: Flavor) -> int:
    """Accelerators (else cores) of a node that one rank keeps from others, those beside which nothing fits included."""
    whole = flavor.accelerators or flavor.cores
    share = max(
        need.accelerators / flavor.accelerators if flavor.accelerators else 0.0,
        need.cores / flavor.cores if flavor.cores else 0.0,
        need.memory_bytes / flavor.memory_bytes if flavor.memory_bytes else 0.0,
    )
    return max(1, ceil(round(share * whole, 9)))


def _delay_us(moves: Sequence[Move]) -> int:
    """Time until everything has come, on idle links, one after another on each."""
    by_lane: dict[Lane, int] = {}
    for move in moves:
        by_lane[move.lane] = by_lane.get(move.lane, 0) + move.took_us
    return max(by_lane.values(), default=0)
