"""Small files for their owner alone."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 65_536


class LooseFile(Exception):
    """Others may use a file that holds a secret."""

    def __init__(self, path: Path, mode: int) -> None:
        super().__init__(f"{path}: others may use it (mode {mode:04o}); if nobody has read it, run `chmod 600 {path}`")


def read_private(path: Path) -> bytes:
    """A file that nobody but its owner may read. Raises LooseFile where others may, OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077 or found.st_uid not in (os.geteuid(), 0):
            raise LooseFile(path, mode)
        return file.read(MOST_BYTES)


def write_private(path: Path, data: bytes) -> None:
    """Write it (0600), durably, so that nobody ever reads half of it. Raises OSError."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
