"""The figures of an agent for Prometheus, looked up when they are asked for. docs/metrics.md says what each means."""

import shutil
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from moyai.agent.clocks import boot_us, wall_us
from moyai.agent.core.attempts import Held
from moyai.agent.scrape import Page
from moyai.model.units import Boot

if TYPE_CHECKING:
    from moyai.agent.shell import Shell
    from moyai.model.site import SiteProfile

MICROS = 1_000_000
STATES = ("waiting", "offered", "claimed", "running", "stopping")


class AgentMetrics:
    """All figures of one agent, in a registry of its own."""

    def __init__(self, shell: "Shell", profile: "SiteProfile") -> None:
        self._shell = shell
        self._profile = profile
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def page(self, accept: str) -> Page:
        """Every figure as it stands now, as OpenMetrics where `accept` asks for that, else as Prometheus' text."""
        encode, kind = choose_encoder(accept)
        return Page(encode(self.registry), kind)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for. A few dozen figures: they are taken on the loop."""
        site, core, shell = self._profile.name, self._shell.core, self._shell
        yield InfoMetricFamily(
            "moyai_agent",
            "The agent of a site.",
            {"site": site, "engine": self._profile.engine, "version": version("moyai")},
        )
        oldest = core.batch(1).reports
        waits_us = wall_us() - oldest[0].reported_at if oldest else 0
        yield self._one("moyai_agent_joined", "1 while control has welcomed this agent.", int(core.welcomed))
        left = core.lease_left_us(Boot(boot_us())) / MICROS
        yield self._one("moyai_agent_lease_left_seconds", "What is left of the lease, as the site counts it.", left)
        yield self._one("moyai_agent_term", "How often the site has joined.", core.meta.term)
        yield self._one("moyai_agent_epoch", "The newest epoch of control that was seen.", core.meta.epoch)
        yield self._one("moyai_reports_oldest_seconds", "Age of the oldest report in the journal.", waits_us / MICROS)
        entries = {
            "report": core.waiting,
            "owed": core.owed,
            "attempt": len(core.attempts),
            "manifest": len(core.objects.held),
        }
        yield self._many("moyai_journal_entries", "What the journal holds, by kind.", "kind", entries)
        room = max(0, core.limits.reports - core.waiting - core.owed)
        yield self._one("moyai_journal_room_entries", "Reports that the journal has room for.", room)
        yield self._one("moyai_agent_disk_free_bytes", "Room where the site's directory lies.", self._disk_free())
        attempts: dict[str, int] = dict.fromkeys(STATES, 0)
        for held in core.attempts.values():
            attempts[_state(held)] += 1
        yield self._many("moyai_agent_attempts", "Attempts that the journal owns, by state.", "state", attempts)
        nodes = {str(flavor.name): flavor.count for flavor in shell.engine.capacity()}
        yield self._many("moyai_agent_nodes", "Nodes that the engine has now.", "flavor", nodes)

    def _one(self, name: str, said: str, figure: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, said, labels=["site"])
        family.add_metric([self._profile.name], figure)
        return family

    def _many(self, name: str, said: str, label: str, figures: "dict[str, int]") -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, said, labels=["site", label])
        for key, figure in sorted(figures.items()):
            family.add_metric([self._profile.name, key], figure)
        return family

    def _disk_free(self) -> int:
        try:
            return shutil.disk_usage(self._shell.places.root).free
        except OSError:
            return 0  # the directory is gone; the agent finds that out by itself


def _state(held: Held) -> str:
    if held.mark.stop is not None:
        return "stopping"
    if held.mark.started_at:
        return "running"
    if held.claimed:
        return "claimed"
    return "offered" if held.offered else "waiting"
