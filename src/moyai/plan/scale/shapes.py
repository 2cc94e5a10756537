"""What jobs of one make could have at each site and flavor: found once by the hard rules, then used in arrays.

A column is a site and a flavor of it: `site · flavors + flavor`, sites by name, as many flavors as the widest site has.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from moyai.facility.power import idle_power_w
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.site import Flavor
from moyai.model.units import MICRO_YEN, MICROS_PER_HOUR, Instant
from moyai.model.workload import Need
from moyai.plan.lanes import Lane, Lanes, Move
from moyai.plan.price.instance import F64, Bool
from moyai.plan.problem import Option, Problem, job_class, site_options
from moyai.plan.types import Policy, QueuedJob, SiteView, Snapshot

Make = tuple[object, ...]
"""What jobs of one make have in common: need, ranks, rules and data."""


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
    kw        of one job, at the feed
    nodes     yen per hour for its nodes
    delay     hours until its data is there, on idle links
    egress    yen
    covered   hours of its run that a checkpoint spares
    excluded  (sites,) the row that tells why a site is out, or None
    options   (columns,) as the rules found it for the first job of the make, or None
    """

    feasible: Bool
    units: int
    kw: F64
    nodes: F64
    delay: F64
    egress: F64
    covered: F64
    excluded: tuple[Considered | None, ...]
    options: tuple[Option | None, ...]


def make_of(job: QueuedJob) -> Make:
    """What the shape of a job depends on."""
    order, need = job.order, job.order.need
    return (
        (need.cores, need.memory_bytes, need.accelerator, need.accelerators, order.nodes),
        job.data and tuple((d.manifest, d.sites, d.residency, d.purposes, d.purpose, d.name) for d in job.data),
        job.resumes and tuple((d.manifest, d.sites, covered) for d, covered in job.resumes),
        (job.capabilities, order.capabilities, job.restricted, order.residency, job.avoid),
    )


def rules_problem(columns: Columns, snapshot: Snapshot, now: Instant, policy: Policy) -> Problem:
    """A problem without a queue: what the hard rules need to know of the fleet."""
    idle_w = {s.profile.name: idle_power_w(s.profile) for s in columns.sites if s.profile.power_cap_w}
    return Problem(snapshot, now, policy, columns.sites, idle_w, Lanes(now), (), ())


def shape_of(
    problem: Problem, columns: Columns, job: QueuedJob, before: Shape | None = None, only: Sequence[int] = ()
) -> Shape:
    """The shape of a job's make. With `before`, it is looked at anew only at the sites of index `only`."""
    cls = job_class(job, problem.now, problem.policy)
    cls.jobs.append(job)
    options: list[Option | None] = list(before.options) if before else [None] * columns.count
    excluded: list[Considered | None] = list(before.excluded) if before else [None] * len(columns.sites)
    for index in only if before else range(len(columns.sites)):
        first = index * columns.width
        options[first : first + columns.width] = [None] * columns.width
        found = site_options(problem, cls, columns.sites[index], Counter())
        if isinstance(found, Considered):
            excluded[index] = found
            continue
        excluded[index] = None
        for n, flavor in enumerate(columns.flavors[index]):
            mine = [o for o in found if o.flavor.name == flavor.name]
            options[first + n] = max(mine, key=lambda o: cls.best_value(o, o.soonest), default=None)
    _avoid(columns, job, options, excluded)
    return _arrays(columns, job, options, excluded)


def _avoid(columns: Columns, job: QueuedJob, options: list[Option | None], excluded: list[Considered | None]) -> None:
    """Leave out sites that failed the job a moment ago, where others could take it."""
    if not any(o is not None and o.site not in job.avoid for o in options):
        return
    for index, view in enumerate(columns.sites):
        name, first = view.profile.name, index * columns.width
        if name in job.avoid and excluded[index] is None:
            excluded[index] = Considered(name, "", False, Reason(Code.LAUNCH_FAILED, detail="a moment ago"))
            options[first : first + columns.width] = [None] * columns.width


def _arrays(columns: Columns, job: QueuedJob, options: list[Option | None], excluded: list[Considered | None]) -> Shape:
    need, ranks = job.order.need, job.order.nodes
    if not need.accelerators and any(o is not None and not o.flavor.accelerators for o in options):
        options = [o if o is not None and not o.flavor.accelerators else None for o in options]
    figures = np.zeros((5, columns.count))
    units: list[int] = []
    for column, option in enumerate(options):
        if option is None:
            continue
        units.append(ranks * units_of(need, option.flavor))
        figures[:, column] = (
            option.power_w / 1_000,
            ranks * option.flavor.price_micro_yen_per_hour / MICRO_YEN,
            _delay_us(option.moves) / MICROS_PER_HOUR,
            sum(m.egress_micro_yen for m in option.moves) / MICRO_YEN,
            option.covered_us / MICROS_PER_HOUR,
        )
    feasible = np.array([o is not None for o in options])
    kw, nodes, delay, egress, covered = figures
    return Shape(feasible, min(units, default=1), kw, nodes, delay, egress, covered, tuple(excluded), tuple(options))


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
