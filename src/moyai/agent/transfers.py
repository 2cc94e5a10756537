"""Fetching of manifests from other sites: paced, resumed where it was cut short, verified before it counts.

A partial fetch is `objects/.part-<manifest>/`: its manifest, and its files in order, the last one perhaps cut short.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from moyai.agent.clocks import boot_us
from moyai.agent.control import Denied, Gone, Rejoin, Unreachable
from moyai.data.io.tree import manifest_path, problem, publish
from moyai.data.manifest import BadManifest, FileEntry, Manifest, is_id, parse
from moyai.model.commands import Fetch
from moyai.model.ids import ManifestId, SiteName

LOG = logging.getLogger("moyai.agent")
IN_FLIGHT = 4
LEAST_PIECE, MOST_PIECE = 64 << 10, 4 << 20
PIECES_A_SECOND = 8
"""A piece is what the link moves in about an eighth of a second, so that the pace is even."""
TRIES = 12
"""In a row that may fail before a fetch is given up."""
AGAIN_S, AGAIN_MOST_S = 0.1, 5.0
PART = ".part-"


class Source(Protocol):
    """Where bytes come from. Both raise Gone, Unreachable, Rejoin or Denied."""

    async def manifest(self, source: SiteName, manifest: ManifestId) -> bytes:
        """The canonical bytes of a manifest."""
        ...

    async def piece(self, source: SiteName, manifest: ManifestId, index: int, offset: int, limit: int) -> bytes:
        """At most `limit` bytes of a file of it."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """How a fetch went. `moved_bytes`: all that came, what had to come twice counted twice."""

    stored: bool
    moved_bytes: int
    took_us: int
    detail: str = ""


class _Lost(Exception):
    """The fetch can't be done; the message says why."""


class _Pace:
    """Turns on a link of so many bytes a second, shared by the pieces in flight."""

    def __init__(self, bytes_per_second: int, latency_us: int) -> None:
        self._rate = max(1, bytes_per_second)
        self._latency_s = latency_us / 1_000_000
        self._free_at = asyncio.get_running_loop().time()

    def turn(self, size: int) -> float:
        """Take the next `size` bytes of the link; the loop time at which the last of them has arrived."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size / self._rate
        return self._free_at + self._latency_s


class Fetcher:
    """Fetches into `objects`."""

    def __init__(self, source: Source, objects: Path) -> None:
        self._source = source
        self._objects = objects

    async def fetch(self, order: Fetch) -> Fetched:
        """Copy a manifest here. Never raises for what can happen: a full disk, a source that is gone, damaged bytes."""
        began = boot_us()
        if manifest_path(self._objects, order.manifest).is_file():
            return Fetched(True, 0, 0)
        work = self._objects / f"{PART}{order.manifest}"
        pull = _Pull(self._source, order, work)
        detail = ""
        try:
            await pull.run()
            await asyncio.to_thread(publish, work, self._objects, pull.manifest)
        except (_Lost, BadManifest) as error:
            detail = str(error)
            await asyncio.to_thread(shutil.rmtree, work, True)
        except OSError as error:
            detail = f"{error.filename or self._objects}: {error.strerror or error}"
            await asyncio.to_thread(shutil.rmtree, work, True)
        if detail:
            LOG.warning("%s from %s: %s", order.transfer, order.source, detail)
        return Fetched(not detail, pull.moved, boot_us() - began, detail)


class _Pull:
    """One fetch under way."""

    def __init__(self, source: Source, order: Fetch, work: Path) -> None:
        self._source = source
        self._order = order
        self._work = work
        self._pace = _Pace(order.bytes_per_second, order.latency_us)
        self._piece = min(MOST_PIECE, max(LEAST_PIECE, order.bytes_per_second // PIECES_A_SECOND))
        self._failed = 0  # tries in a row
        self.manifest = Manifest(())
        self.moved = 0

    async def run(self) -> None:
        """Everything of it lies in the work directory, verified. Raises _Lost, BadManifest, OSError."""
        order = self._order
        if not is_id(order.manifest):
            raise _Lost(f"{order.manifest!r} is no manifest id")
        data = await self._manifest_bytes()
        self.manifest = parse(data, order.manifest)
        for index, file in enumerate(self.manifest.files):
            await self._file(index, file)

    async def _manifest_bytes(self) -> bytes:
        place = self._work / "manifest.part"
        if place.is_file():
            return place.read_bytes()
        data = await self._get(lambda: self._source.manifest(self._order.source, self._order.manifest), None)
        self.moved += len(data)
        self._work.mkdir(parents=True, exist_ok=True)
        temporary = place.with_suffix(".tmp")
        temporary.write_bytes(data)
        temporary.rename(place)
        return data

    async def _file(self, index: int, file: FileEntry) -> None:
        place = self._work / "tree" / file.path
        for _ in range(2):
            await self._rest_of(index, file, place)
            wrong = await asyncio.to_thread(problem, self._work / "tree", file)
            if not wrong:
                place.chmod(file.mode & ~0o222)
                return
            LOG.warning("%s: %s; it is fetched again", self._order.transfer, wrong)
            place.unlink()
        raise _Lost(f"{file.path} came damaged twice")

    async def _rest_of(self, index: int, file: FileEntry, place: Path) -> None:
        """What is missing at the end of a file, several pieces in flight, written in order."""
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            place.chmod(0o600)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        flying: list[asyncio.Task[bytes]] = []
        try:
            written = os.fstat(descriptor).st_size
            if written > file.size_bytes:
                os.ftruncate(descriptor, 0)
                written = 0
            asked = written
            os.lseek(descriptor, written, os.SEEK_SET)
            while written < file.size_bytes:
                while asked < file.size_bytes and len(flying) < IN_FLIGHT:
                    size = min(self._piece, file.size_bytes - asked)
                    flying.append(asyncio.create_task(self._one(index, asked, size)))
                    asked += size
                data = await flying.pop(0)
                await asyncio.to_thread(_write_all, descriptor, data)
                written += len(data)
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)
            os.close(descriptor)

    async def _one(self, index: int, offset: int, size: int) -> bytes:
        order = self._order
        data = await self._get(lambda: self._source.piece(order.source, order.manifest, index, offset, size), size)
        self.moved += len(data)
        return data

    async def _get(self, ask: "Asking", size: int | None) -> bytes:
        """Ask until it is answered; not sooner than the link would have brought it. Raises _Lost."""
        loop = asyncio.get_running_loop()
        again_s = AGAIN_S
        while True:
            due = self._pace.turn(size or 0)
            try:
                data = await ask()
                if size is not None and len(data) != size:
                    raise Unreachable(f"{len(data)} bytes came where {size} were asked for")
            except (Gone, Denied) as error:
                raise _Lost(f"{self._order.source} has not got it: {error}") from None
            except (Unreachable, Rejoin) as error:
                self._failed += 1
                if self._failed >= TRIES:
                    raise _Lost(f"{self._order.source} can't be reached: {error}") from None
                await asyncio.sleep(again_s)
                again_s = min(again_s * 2, AGAIN_MOST_S)
            else:
                self._failed = 0
                await asyncio.sleep(max(0.0, due - loop.time()))
                return data


class Asking(Protocol):
    """A request that can be made again."""

    async def __call__(self) -> bytes:
        """Make it."""
        ...


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def tidy(objects: Path, wanted: Collection[ManifestId]) -> None:
    """Remove partial fetches that nobody wants any more."""
    for entry in objects.iterdir():
        if entry.name.startswith(PART) and entry.name[len(PART) :] not in wanted:
            shutil.rmtree(entry, ignore_errors=True)
