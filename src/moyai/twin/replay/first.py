"""The simplest planner that there is: jobs in the order they came, each where it fits first, nobody overtakes.

It measures the replay rather than itself, and shows the rest of the code what a planner must do at least.
"""

from collections.abc import Sequence

from moyai.facility.power import attempt_power_w
from moyai.model.events import Placement
from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import Flavor, within
from moyai.model.units import MICROS_PER_SECOND, Instant, after
from moyai.model.workload import Need
from moyai.plan.types import Plan, Planned, Policy, QueuedJob, SiteView, Snapshot


class _Room:
    """What is free of each node of a flavor: cores, bytes, accelerators."""

    def __init__(self, site: SiteView, flavor: Flavor) -> None:
        self.site, self.flavor = site, flavor
        self.free = [[flavor.cores, flavor.memory_bytes, flavor.accelerators] for _ in range(flavor.count)]

    def take(self, nodes: Sequence[int], need: Need, sign: int = 1) -> None:
        """Take what ranks on `nodes` need."""
        for node in nodes:
            free = self.free[node]
            free[0] -= sign * need.cores
            free[1] -= sign * need.memory_bytes
            free[2] -= sign * need.accelerators

    def fit(self, need: Need, ranks: int) -> tuple[int, ...] | None:
        """Nodes for so many ranks, the first ones that have room; None where they haven't."""
        found: list[int] = []
        for node, free in enumerate(self.free):
            found += [node] * min(ranks - len(found), _ranks(free, need, ranks))
            if len(found) == ranks:
                return tuple(found)
        return None


def _ranks(free: Sequence[int], need: Need, most: int) -> int:
    """How many ranks, up to `most`, a node with so much free holds."""
    cores, memory, accelerators = free
    if need.cores:
        most = min(most, cores // need.cores)
    if need.memory_bytes:
        most = min(most, memory // need.memory_bytes)
    if need.accelerators:
        most = min(most, accelerators // need.accelerators)
    return most


def first_come(snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy) -> Plan:
    """Place the head of the queue for as long as it fits somewhere; a job that no site could ever hold is passed over.

    Data is left where it lies: a job with datasets waits for a site that has them all.
    """
    rooms = {
        (s.profile.name, f.name): _Room(s, f)
        for s in snapshot.sites
        if s.joined and not s.lost and not s.draining
        for f in s.profile.flavors
    }
    for busy in snapshot.busy:
        room = rooms.get((busy.site, busy.flavor))
        if room is not None:
            room.take(busy.nodes, busy.need)
    made: list[Planned] = []
    for job in queue:
        if job.not_before > now:
            continue
        options = [room for room in rooms.values() if _allowed(room, job)]
        if not options:
            continue
        placed = next((p for room in options if (p := _place(room, job, now)) is not None), None)
        if placed is None:
            break
        made.append(placed)
    return Plan(snapshot.seq, now, tuple(made))


def _allowed(room: _Room, job: QueuedJob) -> bool:
    """Whether the job could ever run there, with the site as it stands."""
    profile, flavor, need = room.site.profile, room.flavor, job.order.need
    empty = (flavor.cores, flavor.memory_bytes, flavor.accelerators)
    return (
        all(within(profile.jurisdiction, codes) for _, codes in job.restricted)
        and set(job.capabilities) <= set(room.site.capabilities)
        and all(profile.name in d.sites for d in job.data)
        and (not need.accelerators or need.accelerator == flavor.accelerator)
        and flavor.count * _ranks(empty, need, job.order.nodes) >= job.order.nodes
    )


def _place(room: _Room, job: QueuedJob, now: Instant) -> Planned | None:
    need, ranks, profile = job.order.need, job.order.nodes, room.site.profile
    nodes = room.fit(need, ranks)
    if nodes is None:
        return None
    saved = [(covered, view.manifest) for view, covered in job.resumes if profile.name in view.sites]
    covered_us, restore = max(saved, default=(0, None), key=lambda s: s[0])
    power_w = attempt_power_w(need, ranks, room.flavor, profile.pue_milli)
    run_us = max(0, job.run_us - covered_us)
    room.take(nodes, need)
    placement = Placement(
        site=SiteName(profile.name),
        flavor=FlavorName(room.flavor.name),
        nodes=nodes,
        start=now,
        end=after(now, run_us),
        power_w=power_w,
        cost_micro_yen=0,
        energy_j=power_w * run_us // MICROS_PER_SECOND,
        carbon_mg=0,
        considered=(),
    )
    return Planned(job.job, placement, restore, covered_us)
