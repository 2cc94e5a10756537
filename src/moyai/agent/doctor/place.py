"""A directory: whose it is, whether it can be written, and how much room is left."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from moyai.agent.doctor.check import Check, bad, ok, warn

LEAST_BYTES, SCARCE_BYTES = 256 << 20, 2 << 30
"""Less room than this is bad, and worth a word."""
SCARCE_INODES = 10_000


def check_directory(place: Path) -> Check:
    """Whether a directory is ours alone, and a file in it can be made durable."""
    path = str(place)
    try:
        found = place.stat()
    except OSError as error:
        return bad("directory", "directory-unreadable", path=path, problem=error.strerror or str(error))
    if not stat.S_ISDIR(found.st_mode):
        return bad("directory", "directory-none", path=path)
    if found.st_uid != os.geteuid():
        return bad("directory", "directory-foreign", path=path, uid=found.st_uid)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as probe:
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return bad("directory", "directory-readonly", path=path, problem=error.strerror or str(error))
    if stat.S_IMODE(found.st_mode) & 0o077:
        return warn("directory", "directory-open", path=path, mode=f"{stat.S_IMODE(found.st_mode):04o}")
    return ok("directory", "directory-fine", path=path)


def check_disk(place: Path, least: int = LEAST_BYTES, scarce: int = SCARCE_BYTES) -> Check:
    """Whether there is room for the log, the journal and what jobs write."""
    path = str(place)
    try:
        free = shutil.disk_usage(place).free
        held = os.statvfs(place)
    except OSError as error:
        return bad("disk", "directory-unreadable", path=path, problem=error.strerror or str(error))
    if free < least:
        return bad("disk", "disk-full", path=path, free=free, least=least)
    if held.f_files and held.f_favail < SCARCE_INODES:
        return warn("disk", "disk-inodes", path=path, count=held.f_favail)
    if free < scarce:
        return warn("disk", "disk-scarce", path=path, free=free)
    return ok("disk", "disk-fine", path=path, free=free)
