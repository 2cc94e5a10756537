"""A fake control plane: speaks the exchange over a Unix socket, in the test's own event loop, and decides nothing."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from moyai.model.codec import decode, decode_batch, encode
from moyai.model.commands import Command
from moyai.model.exchange import Ack, Ask, AskKind, Commands, Hello, Numbered, Report, Welcome
from moyai.model.ids import AttemptId


@dataclass
class FakeSite:
    """What the fake knows of one site."""

    term: int = 0
    incarnation: str = ""
    hellos: list[Hello] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    duplicates: int = 0
    renewals: int = 0
    commands: dict[int, Numbered] = field(default_factory=dict)
    asks: dict[str, tuple[Ask, asyncio.Future]] = field(default_factory=dict)
    unknown: tuple[AttemptId, ...] = ()
    over: bool = False  # its term is over: it must say hello

    def bodies(self, kind: type) -> list[Any]:
        return [r.body for r in self.reports if isinstance(r.body, kind)]


class FakeControl:
    """Serves on `path`. `cut` refuses every request while it is set."""

    def __init__(self, lease_us: int = 30_000_000, epoch: int = 1) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mf", dir="/tmp"))
        self.path = self.folder / "c.sock"
        self.lease_us = lease_us
        self.epoch = epoch
        self.cut = False
        self.sites: dict[str, FakeSite] = {}
        self.blobs: dict[str, bytes] = {}
        self.moved = 0
        self.fail_pieces = 0  # so many requests for pieces are answered 503
        self.number = 0
        self.changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"unix:{self.path}"

    async def __aenter__(self) -> "FakeControl":
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def site(self, name: str) -> FakeSite:
        return self.sites.setdefault(name, FakeSite())

    async def command(self, site: str, command: Command, text: object = None) -> int:
        self.number += 1
        said = "" if text is None else encode(text).decode()
        self.site(site).commands[self.number] = Numbered(self.number, type(command).__name__, command, said)
        await self.ring()
        return self.number

    async def ring(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], object], timeout: float = 40) -> Any:
        """Wait until `condition()` is true after some request; returns its value."""
        async with asyncio.timeout(timeout):
            while not (value := condition()):
                async with self.changed:
                    try:
                        async with asyncio.timeout(0.2):
                            await self.changed.wait()
                    except TimeoutError:
                        pass
            return value

    async def report(self, site: str, kind: type, attempt: str = "", timeout: float = 40) -> Any:
        """The first report of `kind` (about `attempt`)."""
        return await self.until(
            lambda: next((b for b in self.site(site).bodies(kind) if not attempt or b.attempt == attempt), None),
            timeout,
        )

    async def ask(self, site: str, kind: AskKind, subject: str, **more: int) -> tuple[dict[str, str], bytes]:
        """Ask a site; its answer's headers (lower case) and bytes."""
        self.number += 1
        ask = Ask(f"q{self.number}", kind, subject, **more)
        future: asyncio.Future = asyncio.get_running_loop().create_future()
        self.site(site).asks[ask.ask] = (ask, future)
        await self.ring()
        return await asyncio.wait_for(future, 30)

    # -- HTTP ------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *rest = head.decode().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if self.cut:
                    return
                status, data, more = await self._route(method, target, headers, body)
                if self.cut:
                    return
                lines = [
                    f"HTTP/1.1 {status} X",
                    f"Content-Length: {len(data)}",
                    *(f"{k}: {v}" for k, v in more.items()),
                ]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _route(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        url = urlsplit(target)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        if parts[-2] == "blobs":
            data = self.blobs.get(parts[-1])
            return (200, data, {}) if data is not None else (404, b"no such blob", {})
        assert parts[:2] == ["v1", "exchange"], target
        name, what = parts[2], parts[3]
        site = self.site(name)
        if what == "hello":
            return await self._hello(site, decode(body, Hello))
        if what == "events":
            return await self._events(site, body)
        if what == "commands":
            return await self._commands(site, query)
        if what == "answers":
            _, future = site.asks.pop(parts[4], (None, None))
            if future is None:
                return 410, b"nobody waits", {}
            if not future.done():
                future.set_result((headers, body))
            return 204, b"", {}
        assert what == "from", target
        return await self._relay(parts, query)

    async def _hello(self, site: FakeSite, hello: Hello) -> tuple[int, bytes, dict[str, str]]:
        site.hellos.append(hello)
        if site.incarnation and hello.incarnation != site.incarnation:
            site.reports.clear()
        site.incarnation = hello.incarnation
        site.term += 1
        site.over = False
        await self.ring()
        through = max((r.number for r in site.reports), default=0)
        return 200, encode(Welcome(site.term, self.epoch, self.lease_us, through, site.unknown)), {}

    async def _events(self, site: FakeSite, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        batch = decode_batch(body)
        if batch.term != site.term or site.over:
            return 409, b'{"rejoin": true}', {}
        site.renewals += 1
        for report in batch.reports:
            have = {r.number: r for r in site.reports}
            if report.number in have:
                assert have[report.number] == report, "a number was used twice"
                site.duplicates += 1
            else:
                assert report.number == len(have) + 1, "a report is missing"
                site.reports.append(report)
        await self.ring()
        through = max((r.number for r in site.reports), default=0)
        return 200, encode(Ack(self.epoch, through, True, self.lease_us)), {}

    async def _commands(self, site: FakeSite, query: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        deadline = asyncio.get_running_loop().time() + float(query["wait"])
        while True:
            if int(query["term"]) != site.term or site.over:
                return 409, b'{"rejoin": true}', {}
            commands = tuple(c for n, c in sorted(site.commands.items()) if n > int(query["after"]))
            asks = tuple(ask for ask, _ in site.asks.values())
            left = deadline - asyncio.get_running_loop().time()
            if commands or asks or left <= 0:
                return 200, encode(Commands(self.epoch, site.term, commands, asks)), {}
            async with self.changed:
                try:
                    async with asyncio.timeout(left):
                        await self.changed.wait()
                except TimeoutError:
                    pass

    async def _relay(self, parts: list[str], query: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        source, manifest = parts[4], parts[6]
        if len(parts) == 7:
            headers, data = await self.ask(source, AskKind.MANIFEST, manifest, limit=4 << 20)
        else:
            if self.fail_pieces > 0:
                self.fail_pieces -= 1
                return 503, b"try again", {}
            more = {"file": int(parts[8]), "offset": int(query["offset"]), "limit": int(query["limit"])}
            headers, data = await self.ask(source, AskKind.FILE, manifest, **more)
        status = headers["x-moyai-status"]
        if status != "ok":
            return (410 if status == "gone" else 502), data, {}
        self.moved += len(data)
        return 200, data, {}
