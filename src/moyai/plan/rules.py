"""The hard rules: whether a site may and can take a job at all, apart from what runs there now.

They are asked in a fixed order and the first one broken is told: lifting it either opens the site or shows the next.
"""

from collections.abc import Iterator, Mapping

from moyai.facility.power import attempt_power_w
from moyai.model.ids import SiteName
from moyai.model.reasons import Code, Reason
from moyai.model.site import Flavor, Link, SiteProfile, link_key, within
from moyai.model.workload import Need
from moyai.plan.lanes import Lane
from moyai.plan.pack import ranks_per_node
from moyai.plan.types import DataView, QueuedJob, SiteView

WORKLOAD = "workload"
"""The subject of a residency that the job itself demands."""


def site_rule(view: SiteView, job: QueuedJob) -> Reason | None:
    """The first rule by which a site as a whole is excluded, data moves and flavors aside."""
    profile = view.profile
    for subject, codes in demands(job):
        if not within(profile.jurisdiction, codes):
            return Reason(Code.RESIDENCY, subject=subject, detail=", ".join(codes))
    for view_of_data in job.data:
        if view_of_data.purposes and view_of_data.purpose not in view_of_data.purposes:
            return Reason(Code.PURPOSE, subject=view_of_data.name, detail=", ".join(view_of_data.purposes))
    if not view.joined:
        return Reason(Code.SITE_NOT_JOINED)
    if view.lost:
        return Reason(Code.SITE_LOST)
    if view.draining:
        return Reason(Code.SITE_DRAINING)
    lacking = [c for c in (*job.capabilities, *job.order.capabilities) if c not in view.capabilities]
    if lacking:
        return Reason(Code.ENGINE_LACKS, subject=", ".join(dict.fromkeys(lacking)))
    return None


def demands(job: QueuedJob) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(who demands it, the codes allowed): the job's own residency and that of each dataset. All must hold."""
    yield from job.restricted
    if job.order.residency:
        yield WORKLOAD, job.order.residency
    for data in job.data:
        if data.residency:
            yield data.name, data.residency


def flavor_rule(profile: SiteProfile, flavor: Flavor, job: QueuedJob, idle_w: int) -> Reason | None:
    """The rule by which an empty site of that flavor could never hold the job; None where it could.

    `idle_w` is the idle power of the whole site at its feed.
    """
    need, nodes = job.order.need, job.order.nodes
    per_node = ranks_per_node(flavor, need)
    if not per_node:
        return Reason(Code.NO_FLAVOR, subject=need_text(need))
    if per_node * flavor.count < nodes:
        return Reason(Code.TOO_FEW_NODES, subject=flavor.name, wanted=nodes, found=per_node * flavor.count)
    if profile.power_cap_w:
        wanted = idle_w + attempt_power_w(need, nodes, flavor, profile.pue_milli)
        if wanted > profile.power_cap_w:
            return Reason(Code.POWER_CAP, wanted=wanted, found=profile.power_cap_w)
    return None


_NEARNESS = {Code.NO_FLAVOR: 0, Code.TOO_FEW_NODES: 1, Code.POWER_CAP: 2}


def nearest_miss(misses: list[tuple[str, Reason]], job: QueuedJob) -> tuple[str, Reason]:
    """Of the flavors of a site that can't hold a job, the one that comes nearest: (flavor or "", reason)."""
    if not misses:
        return "", Reason(Code.NO_FLAVOR, subject=need_text(job.order.need))
    flavor, reason = max(misses, key=lambda m: (_NEARNESS[m[1].code], m[1].found - m[1].wanted))
    return ("" if reason.code is Code.NO_FLAVOR else flavor), reason


def source_of(data: DataView, target: SiteName, links: Mapping[Lane, Link]) -> tuple[SiteName, Link] | None:
    """The holder from which a manifest comes soonest to `target`, and the link; None where no link leads there."""
    paths = [(site, link) for site in data.sites if site != target and (link := links.get(link_key(site, target)))]
    usable = [path for path in paths if path[1].bytes_per_second > 0]
    return min(usable, key=lambda path: (path[1].transfer_us(data.size_bytes), path[0]), default=None)


def data_rule(data: DataView, target: SiteName, links: Mapping[Lane, Link]) -> Reason | None:
    """The rule by which a dataset can't be at `target`; None where it is, or can come."""
    if not data.sites:
        return Reason(Code.NO_REPLICA, subject=data.name)
    if target in data.sites or source_of(data, target, links) is not None:
        return None
    return Reason(Code.NO_LINK, subject=data.name, detail=", ".join(data.sites))


def need_text(need: Need) -> str:
    """What one node must have, short: "16 cores, 128 GiB, H100:8"."""
    parts = [f"{need.cores} core{'s' if need.cores != 1 else ''}"]
    if need.memory_bytes:
        parts.append(_memory(need.memory_bytes))
    if need.accelerators:
        parts.append(f"{need.accelerator}:{need.accelerators}")
    return ", ".join(parts)


def _memory(size_bytes: int) -> str:
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB")):
        if size_bytes >= 1 << power:
            return f"{round(size_bytes / (1 << power), 1):g} {unit}"
    return f"{size_bytes} B"
