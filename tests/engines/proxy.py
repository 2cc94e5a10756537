"""A TCP proxy for tests of the network: cut, delayed, a black hole, half open, in both directions or in one. No root.

`Proxy` runs in the test's event loop; `proxy_thread` runs one in a thread for tests without a loop.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CHUNK = 1 << 16
BUFFER = 1 << 20
"""So much a black hole takes before the sender must wait, as a network would."""


@dataclass
class Way:
    """One direction. Set anything at any time: it holds for what comes after."""

    open: asyncio.Event = field(default_factory=asyncio.Event)  # clear: bytes wait (a black hole) until it is set
    delay_s: float = 0.0
    drop: bool = False  # bytes are taken and thrown away: the other side never gets them
    bytes_per_second: float = 0.0  # 0: as fast as can be
    moved: int = 0

    def __post_init__(self) -> None:
        self.open.set()


class Proxy:
    """Forwards connections to host:port. `there`: from the client on; `back`: to the client."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.there = Way()
        self.back = Way()
        self.refuse = False  # new connections are closed at once
        self.connections = 0
        self.port = 0

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- faults ----------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection that is there."""
        for writer in list(self._writers):
            _reset(writer)

    def hole(self, *, there: bool = True, back: bool = True) -> None:
        """Nothing passes any more, and nobody is told: as where packets are dropped. New connections hang too."""
        for way, chosen in ((self.there, there), (self.back, back)):
            if chosen:
                way.open.clear()

    def heal(self) -> None:
        """Everything passes again, what waited first."""
        self.refuse = False
        for way in (self.there, self.back):
            way.drop, way.delay_s, way.bytes_per_second = False, 0.0, 0.0
            way.open.set()

    def delay(self, seconds: float) -> None:
        """Each chunk takes so much longer, in each direction."""
        self.there.delay_s = self.back.delay_s = seconds

    # -- forwarding ------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        if self.refuse:
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.there.open.wait()
            other_reader, other = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        finally:
            self._tasks.discard(task)
        self._writers.add(other)
        ways = [
            asyncio.create_task(self._pump(reader, other, self.there)),
            asyncio.create_task(self._pump(other_reader, writer, self.back)),
        ]
        self._tasks.update(ways)
        try:
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            for way in ways:
                way.cancel()
                self._tasks.discard(way)
            for end in (writer, other):
                end.close()
                self._writers.discard(end)

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        try:
            while data := await reader.read(CHUNK):
                if way.delay_s:
                    await asyncio.sleep(way.delay_s)
                if way.bytes_per_second:
                    await asyncio.sleep(len(data) / way.bytes_per_second)
                await way.open.wait()
                if not way.drop:
                    writer.write(data)
                    await writer.drain()
                    way.moved += len(data)
            await way.open.wait()
            if writer.can_write_eof() and not way.drop:
                writer.write_eof()  # half open: the other direction goes on
        except OSError:
            writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection by a reset, without a word of goodbye."""
    end = writer.get_extra_info("socket")
    if end is not None and end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def proxy_thread(port: int) -> Iterator["Threaded"]:
    """A proxy to `port` in a thread of its own."""
    threaded = Threaded(port)
    threaded.start()
    try:
        yield threaded
    finally:
        threaded.stop()


class Threaded:
    """A proxy whose faults any thread may set."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._done = asyncio.Event()
        self.proxy: Proxy | None = None

    @property
    def port(self) -> int:
        assert self.proxy is not None
        return self.proxy.port

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def do(self, name: str, **words: object) -> None:
        """Call a method of the proxy in its thread."""
        done = threading.Event()

        def call() -> None:
            getattr(self.proxy, name)(**words)
            done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with Proxy(self._target) as self.proxy:
            self._ready.set()
            await self._done.wait()
