"""Files to and from a machine, as streams: nothing is held whole in memory, nothing lies on disk twice.

Archives are made and read in threads; the bytes pass through the event loop, at the pace of the slower side.
"""

import asyncio
import os
import shutil
import tarfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from moyai.agent.engines.ssh.machine import Machine, Process, Unwilling
from moyai.agent.remote.files import ARCNAME, TRAILER
from moyai.agent.workdir import BadArchive, plain, untar
from moyai.data.io import tree
from moyai.data.manifest import Manifest
from moyai.model.ids import ManifestId

CHUNK = 256 << 10
STEP_S = 120.0
"""How long one chunk may take on its way: after that the transfer counts as lost."""

T = TypeVar("T")


class _Stream:
    """The two ends of a transfer, as a thread sees them."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes, /) -> int:
        """Send it, and wait until there is room for more."""
        self._do(self._write(data))
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        """Some bytes; none at the end."""
        return self._do(self._process.stdout.read(size if size > 0 else CHUNK))

    async def _write(self, data: bytes) -> None:
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STEP_S)


async def put_object(machine: Machine, objects: Path, manifest: ManifestId) -> None:
    """Send an object, verified as it is read. Raises MachineDown, Unwilling, TreeError, BadManifest, OSError."""
    held = await asyncio.to_thread(tree.load, objects, manifest)
    await _put(machine, "object", manifest, lambda stream: _pack(stream, objects, manifest, held))


async def put_blob(machine: Machine, archive: Path, blob: str) -> None:
    """Send the archive of a working directory, as a plain tar: a machine may have no zstd. Raises the same."""
    await _put(machine, "blob", blob, lambda stream: _unpack(stream, archive))


async def _put(machine: Machine, kind: str, name: str, produce: Callable[[_Stream], None]) -> None:
    async def work(process: Process) -> None:
        stream = _Stream(process)
        await asyncio.to_thread(produce, stream)
        await asyncio.to_thread(stream.write, TRAILER)

    await machine.transfer(work, "put", kind, name)


def _pack(stream: _Stream, objects: Path, manifest: ManifestId, held: Manifest) -> None:
    root = tree.tree_path(objects, manifest)
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="w|", bufsize=CHUNK) as tar:
        for file in held.files:
            if wrong := tree.problem(root, file):
                raise tree.TreeError(f"object {manifest}: {wrong}")
            tar.add(root / file.path, arcname=file.path, recursive=False)


def _unpack(stream: _Stream, archive: Path) -> None:
    import zstandard

    try:
        with archive.open("rb") as packed, plain(packed) as source:
            while data := source.read(CHUNK):
                stream.write(data)
    except zstandard.ZstdError as error:
        raise BadArchive(f"it can't be unpacked: {error}") from None


async def fetch(machine: Machine, attempt: str, path: str, target: Path) -> None:
    """Bring what lies at `path` below an attempt's directory there to `target`, whole or not at all.

    Raises MachineDown, Unwilling (it isn't there, or can't be packed or unpacked), OSError (a full disk here).
    """
    part = target.parent / f".part-{target.name[:200]}"
    if part.exists():
        await asyncio.to_thread(shutil.rmtree, part)
    part.mkdir(parents=True)

    bad: list[BadArchive] = []

    async def work(process: Process) -> None:
        """Unpack what comes."""
        stream = _Stream(process)
        try:
            await asyncio.to_thread(untar, stream, part, most_bytes=1 << 62, most_entries=1 << 32)
        except BadArchive as error:
            bad.append(error)  # where it was cut short, the transfer says why
        while await process.stdout.read(CHUNK):
            pass  # what fills the last block

    try:
        await machine.transfer(work, "get", attempt, path)
        if bad:
            raise Unwilling(f"{machine.name}: {path}: {bad[0]}")
        found = part / ARCNAME
        if not os.path.lexists(found):
            raise Unwilling(f"{machine.name}: {path} is not there")
        found.rename(target)
    finally:
        await asyncio.to_thread(shutil.rmtree, part, True)
