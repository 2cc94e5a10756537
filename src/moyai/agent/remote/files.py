"""The files of a site on a machine: attempts, kept objects and archives of code. Standard library only.

attempts/<id>/   as on a host      objects/<manifest>/   a tree, kept for the next attempt      blobs/<id>.tar   code
What is kept is whole or not there, and is used under its content's name. The agent has verified what it sends.
"""

import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from moyai.agent import laying
from moyai.agent.laying import CannotPrepare
from moyai.agent.workdir import BadArchive, untar

FAILED = 9
CHUNK = 1 << 20
PART = ".part-"
TRAILER = b"moyai: all of it"
ARCNAME = "it"
"""What the one thing in a tar from `get` is called."""


class BadTransfer(Exception):
    """A name that leads elsewhere, or a transfer that was cut short."""


def entries(place: Path) -> list["os.DirEntry[str]"]:
    """What a directory holds; nothing where it isn't there."""
    try:
        with os.scandir(place) as scan:
            return sorted(scan, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def plain(name: str) -> str:
    """A name that is no path. Raises BadTransfer."""
    if not name or "/" in name or "\0" in name or name.startswith("."):
        raise BadTransfer(f"{name!r} is no name")
    return name


def attempt(root: Path, name: str) -> Path:
    """The directory of an attempt. Raises BadTransfer."""
    return root / "attempts" / plain(name)


def kept(root: Path, kind: str, name: str) -> Path:
    """Where an object or an archive of code is kept. Raises BadTransfer."""
    return root / "objects" / plain(name) if kind == "object" else root / "blobs" / f"{plain(name)}.tar"


def has(root: Path, objects: Iterable[str], blobs: Iterable[str]) -> dict[str, list[str]]:
    """Which of these are kept here; they count as used now."""
    found: dict[str, list[str]] = {"object": [], "blob": []}
    for kind, names in (("object", objects), ("blob", blobs)):
        for name in names:
            try:
                os.utime(kept(root, kind, name))
            except FileNotFoundError:
                continue
            found[kind].append(name)
    return found


def lay(root: Path, order: dict[str, Any]) -> None:
    """Make the directory of an attempt. Raises CannotPrepare, OSError (a full disk).

    `blob`: its code; `restore`: an object to copy where its checkpoints go; `links`: [path, object] for each path below
    its working directory at which it wants to see one; an object "" stands for its checkpoints.
    """
    work, ckpt = laying.clear(attempt(root, order["attempt"]))
    if order["blob"]:
        try:
            with kept(root, "blob", order["blob"]).open("rb") as source:
                untar(source, work)
        except BadArchive as error:
            raise CannotPrepare(str(error)) from None
    if order["restore"]:
        shutil.copytree(kept(root, "object", order["restore"]), ckpt, dirs_exist_ok=True)
        _chmod(ckpt, 0o200, 0)
    for path, name in order["links"]:
        laying.show(work, path, kept(root, "object", name) if name else ckpt)


def transfer(command: str, directory: str, words: Sequence[str]) -> int:
    """`put KIND NAME` takes a tar from stdin; `get PATH…` gives one below an attempt; `lay ORDER`. Returns 0."""
    root = Path(directory)
    try:
        match command, list(words):
            case "put", [kind, name]:
                _put(sys.stdin.buffer, kept(root, kind, name), whole=kind == "blob")
            case "get", [name, path]:
                _get(attempt(root, name), path, sys.stdout.buffer)
            case "lay", [order]:
                lay(root, json.loads(order))
            case _:
                raise BadTransfer(f"there is nothing like {command!r}")
    except (BadTransfer, BadArchive, CannotPrepare, tarfile.TarError, EOFError) as error:
        print(error, file=sys.stderr)
        return FAILED
    return 0


class Trailed:
    """A stream whose sender ends it with `TRAILER`: without that it was cut short."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._held = b""

    def read(self, size: int = CHUNK, /) -> bytes:
        """What came, but for the trailer. Raises BadTransfer where it ends without one."""
        while len(self._held) <= len(TRAILER):
            data = self._source.read(max(1, size))
            if not data:
                if self._held != TRAILER:
                    raise BadTransfer("it was cut short")
                return b""
            self._held += data
        cut = min(size, len(self._held) - len(TRAILER))
        got, self._held = self._held[:cut], self._held[cut:]
        return got


def _put(source: BinaryIO, target: Path, *, whole: bool) -> None:
    """Keep what comes under its name, as it is where `whole`, else unpacked: all of it or nothing."""
    stream = Trailed(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f"{PART}{target.name}-{os.getpid()}"
    try:
        if whole:
            with part.open("wb") as file:
                shutil.copyfileobj(stream, file, CHUNK)
        else:
            part.mkdir()
            untar(stream, part, most_bytes=1 << 62, most_entries=1 << 32)
            while stream.read():
                pass
            _chmod(part, 0, 0o222)
        try:
            part.rename(target)
        except OSError:
            if not target.exists():
                raise
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def _chmod(root: Path, more: int, less: int) -> None:
    """Change the modes of all files below `root`."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = f"{folder}/{name}"
            if not os.path.islink(path):
                os.chmod(path, (os.stat(path).st_mode | more) & ~less)


def _get(place: Path, path: str, target: BinaryIO) -> None:
    """A tar of what lies at `path` below an attempt. Raises BadTransfer where that leads out of it."""
    found = Path(os.path.normpath(place / path))
    if not found.resolve(strict=True).is_relative_to(place.resolve()):
        raise BadTransfer(f"{path!r} leads out of the attempt's directory")
    with tarfile.open(fileobj=target, mode="w|") as tar:
        tar.add(found.resolve(), arcname=ARCNAME)
    target.flush()


def tidy(root: Path, wanted: Sequence[str], most_bytes: int) -> list[str]:
    """Drop what was used longest ago until the rest fits `most_bytes`; never what is `wanted`. Returns what went."""
    found: list[tuple[float, int, Path]] = []
    for kind in ("objects", "blobs"):
        for entry in entries(root / kind):
            path = Path(entry.path)
            if entry.name.startswith(PART):
                _drop_part(path)
            else:
                found.append((entry.stat().st_mtime, _size(path), path))
    total = sum(size for _, size, _ in found)
    gone: list[str] = []
    for _, size, path in sorted(found):
        name = path.name.removesuffix(".tar") if path.parent.name == "blobs" else path.name
        if total > most_bytes and name not in wanted:
            _remove(path)
            total -= size
            gone.append(name)
    return gone


def _drop_part(path: Path) -> None:
    """Drop what a transfer left that was cut short; one that lives is left alone."""
    pid = path.name.rpartition("-")[2]
    if not pid.isdecimal() or not Path(f"/proc/{pid}").exists():
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(os.lstat(f"{folder}/{name}").st_size for folder, _, names in os.walk(path) for name in names)
