"""How soon a workflow could be over at best: no schedule, whoever makes it, beats these bounds."""

from collections.abc import Mapping
from dataclasses import dataclass

from moyai.model.ids import SiteName
from moyai.model.site import Link, SiteProfile
from moyai.model.units import MICROS_PER_SECOND
from moyai.twin.workflows.graph import Bundle, Graph, critical_path_us


@dataclass(frozen=True, slots=True)
class Bound:
    """Lower bounds on the makespan, in µs, and on the bytes that must cross links."""

    path_us: int  # the longest chain, each task after the soonest arrival of what it reads from outside
    work_us: int  # all core time over all cores
    bytes_us: int  # the bytes that must move over all links together
    moved_bytes: int

    @property
    def us(self) -> int:
        """The largest of them."""
        return max(self.path_us, self.work_us, self.bytes_us)


def bound(
    graph: Graph, profiles: tuple[SiteProfile, ...], links: tuple[Link, ...], homes: Mapping[str, SiteName]
) -> Bound:
    """The bounds of a workflow on a fleet; `homes` says where each bundle from outside lies at the start.

    A task runs at one site, and everything that it reads from outside has to be there. A move serves all readers at
    its target, so a bundle's bytes are split among its readers: what a task must import of its shares, at the site
    where that is least, adds up to no more than what moves. Raises ValueError where a task fits no site.
    """
    rates = {(link.a, link.b): link.bytes_per_second for link in links} | {
        (link.b, link.a): link.bytes_per_second for link in links
    }
    names = [p.name for p in profiles]
    begin: dict[str, int] = {}
    moved = 0
    for task, bundles in graph.reads().items():
        outside = [b for b in bundles if not b.maker]
        if outside:
            begin[task] = min(_arrival_us(outside, site, homes, rates) for site in names)
            shares = {site: sum(_share(b) for b in outside if homes[b.name] == site) for site in names}
            moved += sum(shares.values()) - max(shares.values())
    cores = sum(f.count * f.cores for p in profiles for f in p.flavors)
    core_us = sum((task.run_us or 0) * task.need.cores for task in graph.tasks)
    rate = sum(link.bytes_per_second for link in links)
    return Bound(
        path_us=critical_path_us(graph, begin),
        work_us=-(-core_us // cores),
        bytes_us=int(moved) * MICROS_PER_SECOND // rate if rate else 0,
        moved_bytes=int(moved),
    )


def _share(bundle: Bundle) -> float:
    return bundle.size_bytes / len(bundle.readers)


def _arrival_us(
    bundles: list[Bundle],
    site: SiteName,
    homes: Mapping[str, SiteName],
    rates: Mapping[tuple[SiteName, SiteName], int],
) -> int:
    """When all bundles can be at `site` at the soonest: each link brings its part at its whole pace.

    Never, where no link leads there.
    """
    by_source: dict[SiteName, int] = {}
    for bundle in bundles:
        home = homes[bundle.name]
        if home != site:
            by_source[home] = by_source.get(home, 0) + bundle.size_bytes
    if any((source, site) not in rates for source in by_source):
        return 1 << 60
    return max((size * MICROS_PER_SECOND // rates[source, site] for source, size in by_source.items()), default=0)
