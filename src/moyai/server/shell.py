"""What the routes work with: one value that holds the parts of the running control plane."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from moyai.model.ids import SiteName
from moyai.model.units import Instant
from moyai.server.auth import Browsers
from moyai.server.blobs import Blobs
from moyai.server.leading import Alone, Leading
from moyai.server.planner import Planner
from moyai.server.relay import Relay
from moyai.server.texts import Texts
from moyai.server.writer import Writer

if TYPE_CHECKING:
    from moyai.store.log import Log
    from moyai.trust.io.cafiles import Authority

T = TypeVar("T")


class LocalAgents(Protocol):
    """The agents that this server started, as far as routes need them."""

    def standing(self, site: SiteName) -> tuple[int | None, str]:
        """The process of the site's agent, and why there is none; both empty for a site elsewhere."""
        ...

    def leave(self, site: SiteName) -> None:
        """The site was declared dead: its agent is not started again."""
        ...


@dataclass(slots=True)
class Shell:
    """The parts of a running control plane."""

    directory: Path
    log: "Log"
    writer: Writer
    relay: Relay
    texts: Texts
    blobs: Blobs
    planner: Planner
    browsers: Browsers
    agents: LocalAgents
    local: bool
    started_at: Instant
    authority: "Authority | None" = None  # the CA, where agents of other machines are served
    leading: Leading = field(default_factory=Alone)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, thread_name_prefix="read"))
    grown: asyncio.Event = field(default_factory=asyncio.Event)  # rings when the durable log grew

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run what blocks, such as a read of the log."""
        return await asyncio.get_running_loop().run_in_executor(self.reads, work)

    async def rings(self, bell: asyncio.Event, seconds: float) -> bool:
        """Wait for a bell, or until the server stops; False where neither came within `seconds`."""
        if seconds <= 0 or self.stopping.is_set():
            return self.stopping.is_set()
        try:
            async with asyncio.timeout(seconds):
                await bell.wait()
        except TimeoutError:
            return False
        return True
