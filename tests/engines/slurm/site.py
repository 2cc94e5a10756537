"""A site on a Slurm cluster for tests: a real agent process, and the launches that it gets."""

import json
from dataclasses import replace
from pathlib import Path

from agent.fake_control import FakeControl
from agent.site import Site, launch, text
from engines.slurm.cluster import Cluster
from moyai.model.codec import encode
from moyai.model.commands import Launch
from moyai.model.engine import EngineFile, GuardSettings, SlurmFlavor, SlurmSettings
from moyai.model.events import AttemptEnded
from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import Flavor, SiteProfile
from moyai.model.workload import Need

CPU = FlavorName("cpu")
MIB = 1 << 20


def settings(cluster: Cluster, **changes: object) -> SlurmSettings:
    """By REST alone, unless changed."""
    base = SlurmSettings(
        rest=cluster.rest,
        jwt_key=str(cluster.dir / "jwt.key"),
        user="root",
        flavors=(SlurmFlavor(CPU, "batch", "", "gpu:h100"),),
        poll_us=250_000,
        guard=GuardSettings(python="/usr/bin/python3"),
    )
    return replace(base, **changes)


def profile(name: str, nodes: int = 2) -> SiteProfile:
    flavor = Flavor(CPU, nodes, 4, 1 << 30, "h100", 2, peak_w=100)
    return SiteProfile(SiteName(name), "slurm", "JP", 0, 0, (flavor,), 0, 0)


def order(attempt: str, *, accelerators: int = 0, cores: int = 1, memory_mib: int = 200, **more: object) -> Launch:
    """A launch of a small job."""
    made = launch(attempt, **more)
    return replace(made, need=Need(cores, memory_mib * MIB, "h100" if accelerators else "", accelerators))


class SlurmSite(Site):
    """One agent whose engine is a Slurm cluster."""

    def __init__(self, root: Path, name: str, control: str, how: SlurmSettings, nodes: int = 2) -> None:
        super().__init__(root, name, control)
        self.profile.write_bytes(encode(profile(name, nodes)))
        self.configure(how)

    def configure(self, how: SlurmSettings) -> None:
        (self.dir / "engine.json").write_bytes(encode(EngineFile(slurm=how)))

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def engine_out(self, attempt: str) -> str:
        path = self.dir / "attempts" / attempt / "engine.out"
        return path.read_text() if path.exists() else ""


async def run(control: FakeControl, made: Launch, script: str, site: str = "tokyo", **more: object) -> None:
    """Have a site launch it."""
    await control.command(site, made, text(script, **more))


async def ended(control: FakeControl, attempt: str, site: str = "tokyo", timeout: float = 40) -> AttemptEnded:
    return await control.report(site, AttemptEnded, attempt, timeout)


def said(end: AttemptEnded) -> tuple[str, str, int]:
    """(outcome, code, figure) of an end."""
    return end.outcome.value, end.reason.code.value, end.reason.found


def as_json(value: object) -> str:
    return json.dumps(value)
