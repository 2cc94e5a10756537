"""Copies of datasets ahead of demand, by a slow path: once an hour, a few, where jobs keep asking for them. Pure.

Demand is counted by the name of a dataset and the site: who read corpus@3 at Ishikari yesterday will want corpus@4
there today. A copy moves over an idle link at half its pace, so that a transfer that a job waits for always finds the
other half at once. Under a cap the copies that were used least go first; the one copy that is left never goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from moyai.control.bookkeeping import link_name
from moyai.control.residency import reachable_sites
from moyai.control.state import Dataset, Indexes, State, dataset_key
from moyai.control.upkeep import holders, nearest
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.ids import DatasetName, ManifestId, SiteName, transfer_id
from moyai.model.lifecycle import ATTEMPT_LIVE
from moyai.model.site import Link, within
from moyai.model.units import MICROS_PER_HOUR, Instant

EVERY_US = MICROS_PER_HOUR
WINDOW_US = 48 * MICROS_PER_HOUR
"""Attempts of this long show what is asked for, and where."""
OFTEN = 2
"""Uses in the window from which on demand counts as one that comes again."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """A copy that would be of use, the most wanted first in order."""

    uses: int
    manifest: ManifestId
    size_bytes: int
    target: SiteName
    source: SiteName
    link: Link

    @property
    def rank(self) -> tuple[int, int, str, str]:
        """The lowest first: most uses, then smallest, then by name."""
        return (-self.uses, self.size_bytes, self.manifest, self.target)


@dataclass(slots=True)
class _Demand:
    """What the jobs of the window read, and where."""

    by_name: dict[tuple[DatasetName, SiteName], int] = field(default_factory=dict[tuple[DatasetName, SiteName], int])
    uses: dict[tuple[ManifestId, SiteName], int] = field(default_factory=dict[tuple[ManifestId, SiteName], int])
    last: dict[tuple[ManifestId, SiteName], Instant] = field(default_factory=dict[tuple[ManifestId, SiteName], Instant])
    needed: set[tuple[ManifestId, SiteName]] = field(default_factory=set[tuple[ManifestId, SiteName]])  # read just now
    wanted: set[ManifestId] = field(default_factory=set[ManifestId])  # by jobs that wait


def replicate(state: State, indexes: Indexes, now: Instant, *, budget_bytes: int, cap_bytes: int) -> tuple[Draft, ...]:
    """Transfers to issue and copies to drop. Leaves the state as it was.

    budget_bytes  what may move in this round
    cap_bytes     copies of datasets at one site, the site where it was registered aside; 0: no cap
    """
    demand = _demand(state, indexes, now)
    copies = _copies(state)
    drafts: list[Draft] = []
    gone: set[tuple[ManifestId, SiteName]] = set()
    left = budget_bytes
    lanes = {link_name(t.source, t.target) for t in state.transfers.values()}
    moving = {(t.manifest, t.target) for t in state.transfers.values()}
    busy = moving | {(t.manifest, t.source) for t in state.transfers.values()} | demand.needed
    taken = {site: sum(sizes.values()) for site, sizes in copies.items()}
    for wish in sorted(_wishes(state, demand), key=lambda w: w.rank):
        lane = link_name(wish.source, wish.target)
        if wish.size_bytes > left or lane in lanes or (wish.manifest, wish.target) in moving:
            continue
        room = cap_bytes - taken.get(wish.target, 0) if cap_bytes else wish.size_bytes
        if wish.size_bytes > room:
            more = wish.size_bytes - room
            stay = busy | gone | {(m, wish.target) for m in demand.wanted}
            victims = _victims(
                state,
                demand,
                wish,
                more,
                {m: s for m, s in copies.get(wish.target, {}).items() if (m, wish.target) not in stay},
            )
            for victim in victims:
                gone.add((victim, wish.target))
                taken[wish.target] -= copies[wish.target][victim]
                drafts.append(Draft(e.ReplicaDropRequested(victim, wish.target), Origin.DECIDED))
            continue  # there is room for it when they are gone: next time
        left -= wish.size_bytes
        lanes.add(lane)
        moving.add((wish.manifest, wish.target))
        taken[wish.target] = taken.get(wish.target, 0) + wish.size_bytes
        drafts.append(_move(state, wish))
    return tuple(drafts)


def _move(state: State, wish: _Wish) -> Draft:
    ordinal = state.transfer_tries.get(f"{wish.manifest}>{wish.target}", 0) + 1
    body = e.TransferIssued(
        transfer_id(wish.manifest, wish.target, ordinal),
        wish.manifest,
        wish.source,
        wish.target,
        wish.size_bytes,
        max(1, wish.link.bytes_per_second // 2),
        wish.link.latency_us,
    )
    return Draft(body, Origin.DECIDED)


def _demand(state: State, indexes: Indexes, now: Instant) -> _Demand:
    found = _Demand()
    for attempt in state.attempts.values():
        live = attempt.state in ATTEMPT_LIVE
        if attempt.issued_at + WINDOW_US < now and not live:
            continue
        for use in state.jobs[attempt.job].order.data:
            dataset = state.datasets[dataset_key(use.dataset, use.version)]
            if dataset.manifest is None or dataset.job is not None:
                continue
            at, where = (dataset.manifest, attempt.site), (use.dataset, attempt.site)
            found.by_name[where] = found.by_name.get(where, 0) + 1
            found.uses[at] = found.uses.get(at, 0) + 1
            found.last[at] = max(found.last.get(at, Instant(0)), attempt.issued_at)
            if live:
                found.needed.add(at)
    for job in indexes.pending:
        for use in state.jobs[job].order.data:
            manifest = state.datasets[dataset_key(use.dataset, use.version)].manifest
            if manifest is not None:
                found.wanted.add(manifest)
    return found


def _newest(state: State) -> list[Dataset]:
    """The newest adopted version of each dataset, by name."""
    found: dict[DatasetName, Dataset] = {}
    for dataset in state.datasets.values():
        name = dataset.profile.name
        known = found.get(name)
        newer = known is None or known.profile.version < dataset.profile.version
        if newer and dataset.job is None and dataset.manifest is not None:
            found[name] = dataset
    return [found[name] for name in sorted(found)]


def _wishes(state: State, demand: _Demand) -> list[_Wish]:
    """The newest version of what was read often at a site, wherever it isn't and may be."""
    wishes: list[_Wish] = []
    sites = [s for s in reachable_sites(state) if not state.sites[s].draining]
    for dataset in _newest(state):
        assert dataset.manifest is not None
        held = state.manifests.get(dataset.manifest)
        if held is None:
            continue
        have = holders(state, dataset.manifest)
        for site in sites:
            uses = demand.by_name.get((dataset.profile.name, site), 0)
            allowed = within(state.sites[site].profile.jurisdiction, dataset.profile.residency)
            if uses < OFTEN or not allowed or site in have or site in held.dropping:
                continue
            path = nearest(state, dataset.manifest, held.size_bytes, site)
            if path is not None:
                wishes.append(_Wish(uses, dataset.manifest, held.size_bytes, site, path[0], path[1]))
    return wishes


def _copies(state: State) -> Mapping[SiteName, Mapping[ManifestId, int]]:
    """The copies of datasets at each site, with their bytes; a dataset's first place holds no copy."""
    homes: dict[ManifestId, set[SiteName]] = {}
    for dataset in state.datasets.values():
        if dataset.manifest is not None and dataset.job is None:
            homes.setdefault(dataset.manifest, set()).add(dataset.site)
    files = {d.manifest for d in state.datasets.values() if d.job is not None}
    found: dict[SiteName, dict[ManifestId, int]] = {}
    for manifest in sorted(homes):
        held = state.manifests.get(manifest)
        if held is None or manifest in files:
            continue
        for site in held.sites:
            if site not in homes[manifest] and site not in held.dropping:
                found.setdefault(site, {})[manifest] = held.size_bytes
    return found


def _victims(
    state: State, demand: _Demand, wish: _Wish, more_bytes: int, copies: Mapping[ManifestId, int]
) -> list[ManifestId]:
    """Copies at the target that give way to a wish, the least used first; none where they don't make enough room."""
    site = wish.target

    def rank(manifest: ManifestId) -> tuple[int, int, str]:
        return demand.uses.get((manifest, site), 0), demand.last.get((manifest, site), Instant(0)), manifest

    chosen: list[ManifestId] = []
    for manifest in sorted(copies, key=rank):
        if more_bytes <= 0 or rank(manifest)[0] >= wish.uses:
            break
        elsewhere = [s for s in holders(state, manifest) if s != site]
        if elsewhere:
            chosen.append(manifest)
            more_bytes -= copies[manifest]
    return chosen if more_bytes <= 0 else []
