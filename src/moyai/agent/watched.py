"""Who watches the agent: its figures in DIR/metrics.sock for this user, and at an address where one is given.

Prometheus' library is imported when somebody first asks: an agent that nobody watches stays small.
"""

import logging
import socket
from typing import TYPE_CHECKING

from moyai.agent import local
from moyai.agent.clocks import boot_us
from moyai.agent.scrape import Listener, Page
from moyai.model.units import Boot

if TYPE_CHECKING:
    from moyai.agent.metrics import AgentMetrics
    from moyai.agent.shell import Shell
    from moyai.model.site import SiteProfile

LOG = logging.getLogger("moyai.agent")
SOCKET = "metrics.sock"
"""In the site's directory."""


class Watched:
    """The agent's pages for those who watch it."""

    def __init__(self, shell: "Shell", profile: "SiteProfile") -> None:
        self._shell = shell
        self._profile = profile
        self._metrics: AgentMetrics | None = None
        self._listener = Listener({"/metrics": self._page, "/healthz": self._health})

    async def open(self, sock: socket.socket | None = None) -> None:
        """Serve in the directory, and on `sock` where there is one."""
        place = self._shell.places.root / SOCKET
        try:
            listening = local.listen(str(place.parent), place.name)
            listening.setblocking(False)
            await self._listener.open(listening)
        except OSError as error:
            LOG.warning("%s: can't listen there: %s", place, error.strerror or error)
        if sock is not None:
            await self._listener.open(sock)

    async def close(self) -> None:
        """Hang up."""
        await self._listener.close()
        (self._shell.places.root / SOCKET).unlink(missing_ok=True)

    async def _page(self, accept: str) -> Page:
        if self._metrics is None:
            from moyai.agent.metrics import AgentMetrics

            self._metrics = AgentMetrics(self._shell, self._profile)
        return self._metrics.page(accept)

    async def _health(self, accept: str) -> Page:
        """200 while the site holds its lease, else 503."""
        if self._shell.core.welcomed and self._shell.core.lease_left_us(Boot(boot_us())) > 0:
            return Page(b"ok\n")
        return Page(b"no lease: control has not answered\n", status=503)
