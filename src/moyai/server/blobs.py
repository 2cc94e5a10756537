"""Blobs: archives of working directories, named by their BLAKE3, in one directory.

Where control planes share a log, its database holds them, and the directory has copies of those that were asked for.
"""

import asyncio
import os
import re
import secrets
import time
from collections.abc import AsyncIterable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from moyai.model.ids import BlobId

if TYPE_CHECKING:
    from moyai.store.blobs import StoredBlobs

MAX_BYTES = 64 * 1024 * 1024
UNUSED_S = 24 * 3_600.0
"""How long a blob that no unfinished job needs is kept, so that the same directory need not be sent again."""

_NAME = re.compile(r"[0-9a-f]{64}")
_PART = ".part"


class BadBlob(ValueError):
    """Bytes that are not what their name says, or too many of them."""


class NoRoom(OSError):
    """The disk can't take a blob."""


class Blobs:
    """The blobs in a directory. A blob appears whole or not at all."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory (0700) where it is missing; what an earlier process left half written is deleted."""
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)
        for half in directory.glob(f"*{_PART}"):
            half.unlink(missing_ok=True)

    @staticmethod
    def is_name(name: str) -> bool:
        """Whether `name` can be a blob's: 64 hexadecimal digits."""
        return _NAME.fullmatch(name) is not None

    def path(self, blob: BlobId) -> Path | None:
        """The file of a blob, or None where there is none."""
        if not self.is_name(blob):
            return None
        path = self._directory / blob
        return path if path.is_file() else None

    async def put(self, blob: BlobId, pieces: AsyncIterable[bytes]) -> int:
        """Keep the bytes in `pieces` under `blob`, durably; their number. Raises BadBlob or NoRoom."""
        from blake3 import blake3

        part = self._directory / f"{blob}.{secrets.token_hex(6)}{_PART}"
        digest, size = blake3(), 0
        try:
            with part.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                async for piece in pieces:
                    size += len(piece)
                    if size > MAX_BYTES:
                        raise BadBlob(f"a blob has at most {MAX_BYTES >> 20} MiB")
                    digest.update(piece)
                    file.write(piece)
                if digest.hexdigest() != blob:
                    raise BadBlob(f"these bytes are {digest.hexdigest()[:16]}…, not {blob[:16]}…")
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._directory / blob)
        except OSError as error:
            raise NoRoom(error.errno, f"the blob can't be kept: {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)
        return size

    def touch(self, blob: BlobId) -> bool:
        """Keep a blob for another while, because a job is about to need it. False where it is not there."""
        path = self.path(blob)
        if path is None:
            return False
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def sweep(self, needed: Callable[[str], bool], older_than_s: float = UNUSED_S) -> int:
        """Delete blobs that are not needed and were not touched for a while; how many."""
        gone = 0
        oldest = time.time() - older_than_s
        for path in self._directory.iterdir():
            if self.is_name(path.name) and not needed(path.name) and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
                gone += 1
        return gone


class SharedBlobs(Blobs):
    """Blobs that every control plane of a shared log has. Its methods raise LogError as well."""

    def __init__(self, directory: Path, stored: "StoredBlobs") -> None:
        """`directory` is this control plane's own copy: what is missing there is fetched."""
        super().__init__(directory)
        self._stored = stored

    def path(self, blob: BlobId) -> Path | None:
        """The file of a blob, fetched if need be, or None where there is none. Raises NoRoom."""
        here = super().path(blob)
        if here is not None or not self.is_name(blob):
            return here
        pieces = self._stored.get(blob)
        return self._keep(blob, pieces) if pieces is not None else None

    def _keep(self, blob: BlobId, pieces: Iterator[bytes]) -> Path | None:
        from blake3 import blake3

        part = self._directory / f"{blob}.{secrets.token_hex(6)}{_PART}"
        digest = blake3()
        try:
            with part.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != blob:
                return None
            os.replace(part, self._directory / blob)
        except OSError as error:
            raise NoRoom(error.errno, f"the blob can't be kept: {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)
        return self._directory / blob

    async def put(self, blob: BlobId, pieces: AsyncIterable[bytes]) -> int:
        """Keep the bytes in `pieces` under `blob`, durably and for all; their number. Raises BadBlob or NoRoom."""
        from moyai.store.blobs import pieces_of

        size = await super().put(blob, pieces)
        path = self._directory / blob
        await asyncio.to_thread(self._stored.put, blob, lambda: pieces_of(path), _now_us())
        return size

    def touch(self, blob: BlobId) -> bool:
        """Keep a blob for another while, because a job is about to need it. False where it is not there."""
        super().touch(blob)
        return self.is_name(blob) and self._stored.touch(blob, _now_us())

    def sweep(self, needed: Callable[[str], bool], older_than_s: float = UNUSED_S) -> int:
        """Delete blobs that are not needed and were not touched for a while; how many."""
        super().sweep(needed, older_than_s)
        before_us = _now_us() - round(older_than_s * 1e6)
        return self._stored.delete((b for b in self._stored.names(before_us) if not needed(b)), before_us)


def _now_us() -> int:
    return time.time_ns() // 1_000
