"""Links over time: what is under way now and what this plan adds, one transfer at a time on each, at its whole pace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moyai.model.ids import ManifestId, SiteName
from moyai.model.site import Link, link_key
from moyai.plan.types import Flow

Lane = tuple[SiteName, SiteName]
"""The two ends of a link; both directions share it."""


@dataclass(frozen=True, slots=True)
class Move:
    """A manifest that isn't at a site, and the link over which it would come."""

    manifest: ManifestId
    size_bytes: int
    lane: Lane
    took_us: int  # on the idle link
    egress_micro_yen: int
    sharers: int  # jobs of the queue that want this manifest: it moves once for all of them


@dataclass(frozen=True, slots=True)
class Arrival:
    """When the moves of a job are over, what they cost, and the time they take of each link."""

    at: int
    egress_micro_yen: int
    moved_bytes: int
    slots: tuple[tuple[Move, int], ...]  # (what moves, its end)


class Lanes:
    """The links of the fleet. `version` rises with each transfer that is added."""

    __slots__ = ("_busy", "_here", "version")

    def __init__(self, now: int, flows: Sequence[Flow] = (), links: Mapping[Lane, Link] | None = None) -> None:
        self._busy: dict[Lane, list[tuple[int, int]]] = {}  # [start, end) in order, apart
        self._here: dict[tuple[ManifestId, SiteName], int] = {}
        self.version = 0
        for flow in flows:
            lane = link_key(flow.source, flow.target)
            link = (links or {}).get(lane)
            if link is None or link.bytes_per_second <= 0:
                continue
            known = self._busy.get(lane)
            end = (known[0][1] if known else now) + link.transfer_us(flow.left_bytes)
            self._busy[lane] = [(now, end)]
            if flow.manifest is not None:
                self._here[flow.manifest, flow.target] = end

    def copy(self) -> "Lanes":
        """The same links, to be changed apart."""
        twin = Lanes(0)
        twin._busy = {lane: list(spans) for lane, spans in self._busy.items()}
        twin._here, twin.version = dict(self._here), self.version
        return twin

    def comes(self, manifest: ManifestId, target: SiteName) -> bool:
        """Whether something brings a manifest to a site already."""
        return (manifest, target) in self._here

    def arrival(self, moves: Sequence[Move], target: SiteName, start: int) -> Arrival:
        """How `moves` towards `target` go if they begin at `start`: one after another on each link, in order.

        What another job of the plan brings there no later costs nothing.
        """
        at, egress, moved = start, 0, 0
        slots: list[tuple[Move, int]] = []
        cursor: dict[Lane, int] = {}
        for move in moves:
            end = self._gap(move.lane, cursor.get(move.lane, start), move.took_us) + move.took_us
            known = self._here.get((move.manifest, target))
            if known is not None and known <= end:
                at = max(at, known)
                continue
            cursor[move.lane] = end
            at, egress, moved = max(at, end), egress + move.egress_micro_yen, moved + move.size_bytes
            slots.append((move, end))
        return Arrival(at, egress, moved, tuple(slots))

    def take(self, arrival: Arrival, target: SiteName) -> None:
        """Reserve the links for an arrival."""
        for move, end in arrival.slots:
            spans = self._busy.setdefault(move.lane, [])
            spans.append((end - move.took_us, end))
            spans.sort()
            self._here[move.manifest, target] = end
            self.version += 1

    def _gap(self, lane: Lane, start: int, length_us: int) -> int:
        for begin, end in self._busy.get(lane, ()):
            if end <= start:
                continue
            if begin >= start + length_us:
                break
            start = end
        return start
