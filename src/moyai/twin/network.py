"""The path between each site and the control plane: late, lossy, doubled, reordered, and cut now and then."""

from collections.abc import Callable
from typing import Any

from moyai.model.ids import SiteName
from moyai.twin.world import SECOND, World

STRAY_US = (SECOND, 40 * SECOND)
"""How long a copy takes that went astray: answers of an old term and an old epoch still come."""


class Network:
    """Carries messages of sites. A message is lost whole or comes whole; each copy takes its own time."""

    __slots__ = ("_cut_down", "_cut_up", "_world", "doubled", "latency_us", "lost", "sent", "stray")

    def __init__(self, world: World) -> None:
        self._world = world
        self.latency_us: tuple[int, int] = (200, 20_000)
        self.lost = 0.0
        self.stray = 0.0  # of copies that take as long as several leases
        self.doubled = 0.0
        self.sent = 0
        self._cut_up: dict[SiteName, int] = {}  # until when nothing comes from the site
        self._cut_down: dict[SiteName, int] = {}  # until when nothing comes to it

    def cut(self, site: SiteName, until: int, *, up: bool, down: bool) -> None:
        """Let nothing through, in one way or both, until true time `until`."""
        if up:
            self._cut_up[site] = max(until, self._cut_up.get(site, 0))
        if down:
            self._cut_down[site] = max(until, self._cut_down.get(site, 0))

    def heal(self) -> None:
        """From now on everything comes, once and soon."""
        self._cut_up.clear()
        self._cut_down.clear()
        self.lost = self.doubled = self.stray = 0.0
        self.latency_us = (200, 20_000)

    def open(self, site: SiteName) -> bool:
        """Whether something could pass now in both ways."""
        now = self._world.now
        return self._cut_up.get(site, 0) <= now and self._cut_down.get(site, 0) <= now

    def up(self, site: SiteName, deliver: Callable[..., Any], *args: Any) -> None:
        """From the site to control."""
        self._send(self._cut_up, site, deliver, args)

    def down(self, site: SiteName, deliver: Callable[..., Any], *args: Any) -> None:
        """From control to the site."""
        self._send(self._cut_down, site, deliver, args)

    def _send(
        self, cuts: dict[SiteName, int], site: SiteName, deliver: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        world = self._world
        self.sent += 1
        if cuts.get(site, 0) > world.now or world.chance(self.lost):
            return
        for _ in range(2 if world.chance(self.doubled) else 1):
            latency_us = STRAY_US if world.chance(self.stray) else self.latency_us
            world.after(world.between(*latency_us), self._arrive, cuts, site, deliver, args)

    def _arrive(
        self, cuts: dict[SiteName, int], site: SiteName, deliver: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        if cuts.get(site, 0) <= self._world.now:
            deliver(*args)
