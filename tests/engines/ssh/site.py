"""A site of machines that are reached by SSH, with a real agent process."""

import asyncio
import getpass
import sys
from dataclasses import replace
from pathlib import Path

from agent.fake_control import FakeControl
from agent.site import Site, profile
from engines.ssh.machines import TestMachine
from moyai.agent.engines.registry import ENGINE_FILE
from moyai.model.codec import encode
from moyai.model.engine import EngineFile, SshHost, SshSettings
from moyai.model.events import CapacityReported
from moyai.model.ids import FlavorName


class SshSite(Site):
    """One agent's directory and process."""

    def __init__(self, root: Path, name: str, control: str, hosts: tuple[SshHost, ...], known: str) -> None:
        super().__init__(root, name, control)
        base = profile(name)
        flavor = replace(base.flavors[0], count=len(hosts))
        self.profile.write_bytes(encode(replace(base, engine="ssh", flavors=(flavor,))))
        self.known = root / "known_hosts"
        self.known.write_text(known)
        self.settings = SshSettings(hosts, known_hosts=str(self.known), python=sys.executable)
        (self.dir / ENGINE_FILE).write_bytes(encode(EngineFile(ssh=self.settings)))

    def close(self) -> None:
        """Kill the agent; the machines are closed on their own."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def ckpt(self, attempt: str) -> list[str]:
        """Names of the checkpoints that lie here."""
        place = self.dir / "attempts" / attempt / "ckpt"
        return sorted(e.name for e in place.iterdir() if not e.name.startswith(".")) if place.is_dir() else []


async def joined(control: FakeControl, site: SshSite, count: int) -> SshSite:
    """Start a site's agent, and wait until so many of its machines are capacity."""
    site.start()
    await capacity(control, site.name, count)
    return site


async def capacity(control: FakeControl, name: str, count: int, timeout: float = 40) -> None:
    """Wait until a site has said last that it has so many nodes."""

    def said() -> bool:
        bodies = control.site(name).bodies(CapacityReported)
        return bool(bodies) and bodies[-1].flavors[0].count == count

    await control.until(said, timeout)


async def file(path: Path) -> str:
    """What is written at `path`, as soon as there is something."""
    async with asyncio.timeout(30):
        while not path.exists() or not path.read_text():
            await asyncio.sleep(0.02)
    return path.read_text()


def host(machine: TestMachine, key: Path, *, port: int = 0, jump: str = "") -> SshHost:
    """How an agent reaches it."""
    return SshHost(
        machine.name, "127.0.0.1", FlavorName("cpu"), port or machine.port, getpass.getuser(), str(key), jump
    )
