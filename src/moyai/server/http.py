"""How HTTP is served: uvicorn, told what it may not decide by itself."""

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from moyai.server.protocol import PeerProtocol
from moyai.server.tls import Door

AGENTS_AT_ONCE = 8_000
"""Connections of agents of other machines; each has two or three."""


def http_config(app: ASGIApp, door: Door | None = None, patience_s: int = 2) -> uvicorn.Config:
    """How requests are served; through a door by its TLS. `patience_s`: for what is under way at the end."""
    return uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=patience_s,
        limit_concurrency=2_000 if door is None else AGENTS_AT_ONCE,
        ssl_context_factory=None if door is None else lambda _, __: door.side.context,
    )


class HttpServer(uvicorn.Server):
    """Uvicorn that leaves signals to us, and tells when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """The loop's own handlers stay."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._ready()
