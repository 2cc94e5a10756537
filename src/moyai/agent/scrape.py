"""A small listener for those who watch a process: GET of a few pages, one request a connection, everything bounded."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import h11

LOG = logging.getLogger("moyai.scrape")
AT_ONCE = 16
"""Connections that are served at a time; one more is closed unheard."""
HEAD_BYTES = 16 * 1024
ANSWER_S = 10.0
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered to a GET."""

    body: bytes
    kind: str = PLAIN
    status: int = 200


MakePage = Callable[[str], Awaitable[Page]]
"""Makes a page for a reader that accepts this: the value of its Accept header, "" where it sent none."""


class Listener:
    """Serves `pages`, by their paths, on the sockets that it is given."""

    def __init__(self, pages: Mapping[str, MakePage]) -> None:
        self._pages = pages
        self._servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self, sock: socket.socket) -> None:
        """Serve on a listening socket; it is closed with the listener."""
        start = asyncio.start_unix_server if sock.family == socket.AF_UNIX else asyncio.start_server
        self._servers.append(await start(self._come, sock=sock))

    async def close(self) -> None:
        """Stop listening, and hang up."""
        for server in self._servers:
            server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._servers.clear()

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._serving) >= AT_ONCE:
            writer.close()
            return
        self._serving.add(task)
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._serve(reader, writer)
        except (TimeoutError, OSError) as error:
            LOG.info("a reader of the metrics went away: %s", error or type(error).__name__)
        finally:
            self._serving.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        try:
            request = await _request(connection, reader)
            if request is None:
                return
            page = await self._page(request)
            head = request.method == b"HEAD"
        except h11.RemoteProtocolError as error:
            page, head = Page(f"no request that can be read: {error}\n".encode(), status=error.error_status_hint), False
        headers = [
            ("Content-Type", page.kind),
            ("Content-Length", str(len(page.body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        sent = connection.send(h11.Response(status_code=page.status, headers=headers)) or b""
        if not head:
            sent += connection.send(h11.Data(data=page.body)) or b""
        writer.write(sent)
        await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    async def _page(self, request: h11.Request) -> Page:
        if request.method not in (b"GET", b"HEAD"):
            return Page(b"only GET is answered here\n", status=405)
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        make = self._pages.get(path)
        if make is None:
            known = ", ".join(sorted(self._pages))
            return Page(f"there is no such page; known: {known}\n".encode(), status=404)
        accept = next((value for name, value in request.headers if name == b"accept"), b"")
        return await make(accept.decode("latin-1"))


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The head of the one request, or None where the reader hung up. Raises h11.RemoteProtocolError."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await reader.read(HEAD_BYTES))
