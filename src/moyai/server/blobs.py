"""Blobs: archives of working directories, named by their BLAKE3, in one directory."""

import os
import re
import secrets
import time
from collections.abc import AsyncIterable, Callable
from pathlib import Path

from moyai.model.ids import BlobId

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
