"""Links of the fleet. The flows on a link share its bandwidth; each gets more as others end, up to its own pace."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from moyai.model.ids import SiteName
from moyai.model.site import Link, link_key
from moyai.model.units import MICROS_PER_SECOND
from moyai.twin.replay.agenda import Agenda

GRAIN = 1 << 20
"""Grains in a millionth of a byte: a byte a second is as many in a µs, and a third of that is exact enough."""


@dataclass(slots=True, eq=False)
class Flow:
    """Bytes on their way."""

    source: SiteName
    target: SiteName
    left: int  # grains
    pace: int  # grains in a µs, at most
    began_us: int
    latency_us: int
    done: Callable[[int], None]  # told how long it took, in µs
    broken: Callable[[], None]
    rate: int = 0  # grains in a µs, now


@dataclass(slots=True)
class _Lane:
    rate: int  # grains in a µs
    flows: list[Flow] = field(default_factory=list[Flow])
    since_us: int = 0
    change: int = 0


class Links:
    """The flows on every link, in both directions together."""

    def __init__(self, agenda: Agenda, links: Iterable[Link]) -> None:
        self._agenda = agenda
        self._lanes = {link_key(link.a, link.b): _Lane(link.bytes_per_second * GRAIN) for link in links}

    def send(
        self,
        source: SiteName,
        target: SiteName,
        size_bytes: int,
        latency_us: int,
        *,
        pace: int,
        done: Callable[[int], None],
        broken: Callable[[], None],
    ) -> None:
        """Move `size_bytes` from now on: `done` when the last byte is there, `broken` where the source was lost first.

        `pace`: the bytes per second that it takes at most. Raises KeyError where there is no link.
        """
        lane = self._lanes[link_key(source, target)]
        left = size_bytes * MICROS_PER_SECOND * GRAIN
        flow = Flow(source, target, left, pace * GRAIN, self._agenda.now, latency_us, done, broken)
        self._settle(lane)
        lane.flows.append(flow)
        self._next(lane)

    def cut(self, site: SiteName) -> None:
        """End every flow from or to a site. Those from it are told that they broke; the others' targets are gone."""
        gone: list[Flow] = []
        for lane in self._lanes.values():
            mine = [f for f in lane.flows if site in (f.source, f.target)]
            if mine:
                self._settle(lane)
                lane.flows = [f for f in lane.flows if site not in (f.source, f.target)]
                self._next(lane)
                gone += mine
        for flow in gone:
            if flow.source == site:
                flow.broken()

    def _settle(self, lane: _Lane) -> None:
        passed = self._agenda.now - lane.since_us
        for flow in lane.flows:
            flow.left -= passed * flow.rate
        lane.since_us = self._agenda.now

    def _next(self, lane: _Lane) -> None:
        """Share the link anew: evenly, but what a slow flow leaves goes to the others."""
        lane.change += 1
        if not lane.flows:
            return
        room, count, wait_us = lane.rate, len(lane.flows), 1 << 62
        for flow in sorted(lane.flows, key=lambda f: f.pace):
            flow.rate = max(1, min(flow.pace, room // count))
            room, count = room - flow.rate, count - 1
            wait_us = min(wait_us, -(-max(0, flow.left) // flow.rate))
        self._agenda.at(self._agenda.now + wait_us, self._due, lane, lane.change)

    def _due(self, lane: _Lane, change: int) -> None:
        if change != lane.change:
            return
        self._settle(lane)
        there = [flow for flow in lane.flows if flow.left <= 0]
        lane.flows = [flow for flow in lane.flows if flow.left > 0]
        self._next(lane)
        for flow in there:
            self._agenda.at(self._agenda.now + flow.latency_us, self._arrived, flow)

    def _arrived(self, flow: Flow) -> None:
        flow.done(self._agenda.now - flow.began_us)
