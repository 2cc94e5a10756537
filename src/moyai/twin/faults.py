"""Everything that goes wrong, drawn from the seed: messages, agents, guards, sites, engines, control and clocks."""

from collections.abc import Callable

from moyai.control import requests as r
from moyai.model.events import Signal
from moyai.twin.control import ControlNode
from moyai.twin.desk import Desk
from moyai.twin.engine import may_lose_alive
from moyai.twin.network import Network
from moyai.twin.site import Site
from moyai.twin.world import SECOND, World

FAULTS_UNTIL = 75 * SECOND
"""True time after which nothing goes wrong any more."""


class Faults:
    """One seed's misfortunes."""

    def __init__(self, world: World, net: Network, control: ControlNode, desk: Desk, sites: list[Site]) -> None:
        self.world, self.net, self.control, self.desk, self.sites = world, net, control, desk, sites
        self.healed = False

    def draw(self) -> None:
        """Set how bad it is throughout, and when the single blows fall."""
        world, rng = self.world, self.world.rng
        self.net.lost = rng.choice((0.0, 0.02, 0.1, 0.3))
        self.net.stray = rng.choice((0.0, 0.0, 0.03, 0.15))
        self.net.doubled = rng.choice((0.0, 0.05, 0.3))
        self.net.latency_us = (200, rng.choice((5_000, 80_000, 1_500_000)))
        self.control.commit_us = rng.choice(((100, 8_000), (100, 8_000), (20_000, 400_000)))
        self.control.crash_share = rng.choice((0.0, 0.0, 0.01, 0.05))
        for site in self.sites:
            site.crash_share = rng.choice((0.0, 0.0, 0.01, 0.04))
            site.engine.twice_share = rng.choice((0.0, 0.0, 0.1, 0.4))
        blows = (
            self._cut,
            self._cut,
            self._agent_dies,
            self._agent_dies,
            self._site_dies,
            self._control_dies,
            self._engine_repeats,
            self._engine_repeats,
            self._engine_forgets,
            self._engine_is_late,
            self._wall_steps,
            self._nodes_fail,
            self._cap_changes,
            self._drain,
        )
        for _ in range(world.between(1, 9)):
            world.after(world.between(2 * SECOND, FAULTS_UNTIL - SECOND), self._blow, rng.choice(blows))
        world.after(FAULTS_UNTIL, self.heal)

    def _blow(self, blow: Callable[[Site], None]) -> None:
        blow(self.world.rng.choice(self.sites))

    def heal(self) -> None:
        """Everything comes back, and every clock is right again."""
        self.world.say("all heals")
        self.healed = True
        self.net.heal()
        self.desk.lost = 0.0
        self.control.crash_share = 0.0
        self.control.machine.wall_offset_us = 0
        self.control.start()
        for site in self.sites:
            site.crash_share = 0.0
            site.machine.wall_offset_us = 0
            site.engine.twice_share = 0.0
            site.engine.start_us = (2_000, 300_000)
            site.set_nodes(site.profile.flavors[0].count)
            site.power_on()
            site.start_agent()

    def _span(self) -> int:
        """A while: from well within a lease to several of them."""
        lease_us = self.control.lease_us
        return self.world.between(*self.world.rng.choice(((lease_us // 20, lease_us // 2), (lease_us, 4 * lease_us))))

    def _cut(self, site: Site) -> None:
        up, down = self.world.rng.choice(((True, True), (True, True), (True, False), (False, True)))
        until = self.world.now + self._span()
        self.world.say(f"{site.name}: cut off until {until / SECOND:.1f}{'' if up and down else ', one way'}")
        self.net.cut(site.name, until, up=up, down=down)

    def _agent_dies(self, site: Site) -> None:
        site.kill_agent()
        self.world.after(self._span(), site.start_agent)

    def _site_dies(self, site: Site) -> None:
        site.power_off(lose_disk=self.world.chance(0.5), lose_books=self.world.chance(0.5))
        self.world.after(self._span(), site.power_on)

    def _control_dies(self, _: Site) -> None:
        self.control.kill()
        self.world.after(self._span(), self.control.start)

    def _engine_repeats(self, site: Site) -> None:
        known = [runs[-1].launch for _, runs in sorted(site.engine.books.items())]
        options = known or site.engine.old
        if options and site.up and site.engine.guarded:
            site.engine.start_again(self.world.rng.choice(options))

    def _engine_forgets(self, site: Site) -> None:
        known = sorted(site.engine.books)
        if known and site.engine.guarded:
            attempt = self.world.rng.choice(known)
            alive = all(may_lose_alive(run) for run in site.engine.books[attempt])
            site.engine.lose(attempt, kill=not alive or self.world.chance(0.5))

    def _engine_is_late(self, site: Site) -> None:
        site.engine.start_us = (SECOND, 30 * SECOND)

    def _wall_steps(self, site: Site) -> None:
        step_us = self.world.rng.choice((-3_600, -90, 90, 3_600)) * SECOND
        machine = self.world.rng.choice((self.control.machine, site.machine))
        self.world.say(f"a wall clock steps by {step_us // SECOND} s")
        machine.wall_offset_us += step_us

    def _nodes_fail(self, site: Site) -> None:
        whole = site.profile.flavors[0].count
        site.set_nodes(self.world.between(0, whole - 1))
        self.world.after(self._span(), site.set_nodes, whole)

    def _cap_changes(self, site: Site) -> None:
        flavor = site.profile.flavors[0]
        low, usual = flavor.count * (flavor.idle_w + 60), site.profile.power_cap_w
        change, back = (r.ChangeSignal("operator", site.name, Signal.POWER_CAP, w) for w in (low, usual))
        self.desk.ask(change, lambda: self.world.after(self._span(), self.desk.ask, back))

    def _drain(self, site: Site) -> None:
        lift = r.DrainSite("operator", site.name, False)
        self.desk.ask(
            r.DrainSite("operator", site.name, True), lambda: self.world.after(self._span(), self.desk.ask, lift)
        )
