"""Whether this control plane leads, now. Where several share a log, one leads by a lease, and a thread renews it.

The lease counts from *sending* the renewal, on CLOCK_BOOTTIME: a process that was stopped finds its lease over when it
wakes, and answers no agent and no write before it knows that nobody else took the place.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moyai.model.units import Boot
from moyai.server import clock
from moyai.server.answers import ApiError, error_answer
from moyai.store.errors import LogError

if TYPE_CHECKING:
    from moyai.store.leader import Seat

RENEW_S = 1.0
"""Between two renewals."""
AGAIN_S = 0.2
"""Before a renewal that failed is sent again."""

_LOG = logging.getLogger("moyai.server")
_OPEN = ("/v1/health", "/metrics", "/healthz")
_EXCHANGE = "/v1/exchange/"


class Leading(Protocol):
    """What the server asks about its own place."""

    def holds(self) -> bool:
        """Whether this control plane leads, at this moment."""
        ...

    def watch(self, on_lost: Callable[[str], None]) -> None:
        """`on_lost` is called once, in another thread, when another control plane leads."""
        ...

    def deposed(self) -> bool:
        """Whether another control plane leads, or may: asks, where that is not known."""
        ...

    def resign(self) -> None:
        """Give the place up. Nothing may be answered after this."""
        ...


class Alone:
    """The leader of a log that no other server can have: the lock on its directory sees to that."""

    def holds(self) -> bool:
        """True."""
        return True

    def watch(self, on_lost: Callable[[str], None]) -> None:
        """It is never lost."""

    def deposed(self) -> bool:
        """False."""
        return False

    def resign(self) -> None:
        """The lock goes with the process."""


class Leased:
    """The leader of a shared log. Made when the place was taken, by a request sent at `sent`."""

    def __init__(self, seat: "Seat", sent: Boot, boot: Callable[[], Boot] = clock.boot) -> None:
        from moyai.store.leader import trusted_us

        self._seat = seat
        self._boot = boot
        self._trusted_us = trusted_us(seat.lease_us)
        self._until = sent + self._trusted_us
        self._end = threading.Event()
        self._on_lost: Callable[[str], None] | None = None
        self._thread = threading.Thread(target=self._renew_all, name="lease", daemon=True)
        self.lost = ""  # why another one leads now; "" where none does as far as is known
        self._thread.start()

    @property
    def lease_us(self) -> int:
        """How long a leader leads without renewing."""
        return self._seat.lease_us

    def holds(self) -> bool:
        """Whether the lease runs, by this machine's own clock."""
        return not self.lost and self._boot() < self._until

    def watch(self, on_lost: Callable[[str], None]) -> None:
        """`on_lost` is called once, in another thread, when another control plane leads."""
        self._on_lost = on_lost
        if self.lost:
            on_lost(self.lost)

    def deposed(self) -> bool:
        """Whether another control plane leads, or may: asks, where that is not known."""
        if self.lost:
            return True
        try:
            return not self._seat.mine()
        except LogError:
            return True

    def resign(self) -> None:
        """Give the place up, so that another may take it at once. Nothing may be answered after this."""
        self._end.set()
        self._thread.join()
        self._until = Boot(0)
        if self.lost:
            return
        try:
            self._seat.resign()
        except LogError as error:
            _LOG.warning("the leader's place could not be given up; its lease runs out by itself: %s", error)

    def _renew_all(self) -> None:
        pause = RENEW_S
        while not self._end.wait(pause):
            pause = self._renew()
            if self.lost:
                if self._on_lost is not None:
                    self._on_lost(self.lost)
                return

    def _renew(self) -> float:
        """One renewal; the pause before the next."""
        held, sent = self.holds(), self._boot()
        try:
            mine = self._seat.renew()
        except LogError as error:
            _LOG.warning("the leader's lease could not be renewed%s: %s", "" if held else ", and is over", error)
            return AGAIN_S
        if mine:
            self._until = sent + self._trusted_us
            return RENEW_S
        self._until = Boot(0)
        self.lost = "another control plane leads: this one was not heard for longer than its lease"
        return 0.0


class OnlyWhileLeading:
    """The ASGI middleware that refuses everything while another control plane may lead."""

    def __init__(self, app: ASGIApp, leading: Leading) -> None:
        self._app = app
        self._leading = leading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say who else may know."""
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        if not self._leading.holds():
            await standby_answer()(scope, receive, send)
            return
        if not scope["path"].startswith(_EXCHANGE):
            await self._app(scope, receive, send)
            return
        refused = False

        async def checked(message: Message) -> None:
            """No agent is told anything after the lease: this process may have been stopped since it was asked."""
            nonlocal refused
            if message["type"] == "http.response.start" and not self._leading.holds():
                refused = True
                await standby_answer()(scope, receive, send)
            elif not refused:
                await send(message)

        await self._app(scope, receive, checked)


def standby_answer(leader: str = "") -> ASGIApp:
    """503 "standby", with who leads where that is known."""
    said = f"this control plane stands by; the one that leads is {leader}" if leader else "this control plane stands by"
    hint = "ask the one that leads; this one takes over by itself when that one is gone"
    headers = {"Retry-After": "1"} | ({"X-Moyai-Leader": leader.encode("ascii", "replace").decode()} if leader else {})
    return error_answer(ApiError(503, said, hint, "standby", headers=headers))


def whereabouts(directory: Path, agents: str = "") -> str:
    """How a control plane is called at the leader's place, for people: its machine, directory and process."""
    listens = f", agents at {agents}" if agents else ""
    return f"{socket.gethostname()}:{directory} (process {os.getpid()}{listens})"
