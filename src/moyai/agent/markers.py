"""The mark of a complete checkpoint. Standard library only: other machines look for it too."""

import os
from collections.abc import Collection

MARKER = ".complete"


def complete(place: "os.PathLike[str] | str", known: Collection[str]) -> list[tuple[int, str]]:
    """(µs of the marker's wall time, name) of complete checkpoints below `place` that aren't `known`, oldest first."""
    found: list[tuple[int, str]] = []
    try:
        with os.scandir(place) as scan:
            for entry in scan:
                if entry.name in known or entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                    continue
                try:
                    marker = os.stat(f"{entry.path}/{MARKER}")
                except OSError:
                    continue  # not complete yet, or deleted again
                found.append((marker.st_mtime_ns // 1000, entry.name))
    except OSError:
        return []
    return sorted(found)
