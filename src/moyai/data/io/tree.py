"""Trees of files on disk: made into objects, verified, given out. An object is `<id>/manifest.json` and `<id>/tree/`.

A tree is read once: what is hashed is what is kept, whatever happens to its source meanwhile. An object appears by one
rename after its bytes are durable, so it is whole or not there.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from blake3 import blake3

from moyai.data.manifest import EXECUTABLE, PLAIN, FileEntry, Manifest, manifest_of, parse, safe_path
from moyai.model.ids import ManifestId

CHUNK = 1 << 20
SYNC_EACH = 64  # with more files than that the whole file system is synced once


class TreeError(Exception):
    """A tree that can't be kept or is not what it should be; the message names the file."""


@dataclass(frozen=True, slots=True)
class _Source:
    path: str  # in the tree
    place: Path
    mode: int


def manifest_path(objects: Path, manifest: ManifestId) -> Path:
    """Where the canonical bytes of a manifest lie."""
    return objects / manifest / "manifest.json"


def tree_path(objects: Path, manifest: ManifestId) -> Path:
    """Where the files of an object lie."""
    return objects / manifest / "tree"


def load(objects: Path, manifest: ManifestId) -> Manifest:
    """The manifest of an object. Raises OSError where it isn't there, BadManifest where it is damaged."""
    return parse(manifest_path(objects, manifest).read_bytes(), manifest)


@lru_cache(maxsize=4)
def load_cached(objects: Path, manifest: ManifestId) -> Manifest:
    """The same, without reading again what was read last: a file of an object is asked for piece by piece."""
    return load(objects, manifest)


def sources(root: Path, prefix: str = "") -> Iterator[_Source]:
    """The regular files below `root`, with `prefix` before their paths. Raises TreeError.

    A link to a file inside `root` counts as that file; any other link, device or socket is an error.
    """
    top = root.resolve()
    todo = [(top, prefix)]
    while todo:
        folder, before = todo.pop()
        try:
            with os.scandir(folder) as scan:
                children = sorted(scan, key=lambda child: child.name)
        except OSError as error:
            raise TreeError(f"{folder} can't be read: {error.strerror}") from None
        for child in children:
            path, place = before + child.name, folder / child.name
            if not safe_path(path):
                raise TreeError(f"{place}: the name can't be kept")
            found = _look(top, place)
            if stat.S_ISDIR(found.st_mode):
                todo.append((place, path + "/"))
            else:
                yield _Source(path, place, EXECUTABLE if found.st_mode & stat.S_IXUSR else PLAIN)


def _look(top: Path, place: Path) -> os.stat_result:
    try:
        found = place.lstat()
        if stat.S_ISLNK(found.st_mode):
            target = place.resolve(strict=True)
            found = target.stat()
            if not target.is_relative_to(top) or not stat.S_ISREG(found.st_mode):
                raise TreeError(f"{place} is a link that leads out of {top}, or not to a file")
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links
        raise TreeError(f"{place} can't be read: {error}") from None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise TreeError(f"{place} is neither a file nor a directory")
    return found


def scan(root: Path, prefix: str = "") -> Manifest:
    """The manifest of the files below `root`. Raises TreeError."""
    return manifest_of(_entry(source, None) for source in sources(root, prefix))


def keep(root: Path, objects: Path, prefix: str = "") -> tuple[ManifestId, Manifest]:
    """Copy the files below `root` into an object. Raises TreeError, OSError (a full disk); leaves nothing half done."""
    work = objects / f".keep-{os.getpid()}-{os.urandom(6).hex()}"
    try:
        manifest = manifest_of(_entry(source, work / "tree") for source in sources(root, prefix))
        return publish(work, objects, manifest), manifest
    finally:
        shutil.rmtree(work, ignore_errors=True)


def keep_any(place: str, objects: Path) -> tuple[ManifestId, Manifest]:
    """The same for a directory, or for one file, at an absolute path. Raises TreeError, OSError."""
    root = Path(place)
    if not root.is_absolute():
        raise TreeError(f"{place!r} is not an absolute path")
    if root.is_dir():
        return keep(root, objects)
    if not root.is_file():
        raise TreeError(f"{place} is not there, or neither a file nor a directory")
    work = objects / f".keep-{os.getpid()}-{os.urandom(6).hex()}"
    found = root.resolve()
    mode = EXECUTABLE if found.stat().st_mode & stat.S_IXUSR else PLAIN
    try:
        manifest = manifest_of([_entry(_Source(root.name, found, mode), work / "tree")])
        return publish(work, objects, manifest), manifest
    finally:
        shutil.rmtree(work, ignore_errors=True)


def digest_of(path: Path) -> str:
    """BLAKE3 of a file's bytes, in hex. Raises OSError."""
    digest = blake3()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def publish(work: Path, objects: Path, manifest: Manifest) -> ManifestId:
    """Make an object of `work/tree`, which holds the files of `manifest`, verified. Raises OSError."""
    name = manifest.id
    (work / "tree").mkdir(parents=True, exist_ok=True)
    (work / "manifest.json").write_bytes(manifest.data())
    if len(manifest.files) > SYNC_EACH:
        os.sync()
    else:
        for file in manifest.files:
            _sync(work / "tree" / file.path)
        _sync(work / "manifest.json")
    target = objects / name
    try:
        work.rename(target)
    except OSError:
        if not manifest_path(objects, name).is_file():
            raise
        return name  # it was here already
    _sync(objects)
    return name


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(source: _Source, into: Path | None) -> FileEntry:
    """The entry of a file; where `into` is given it is copied there as it is read."""
    digest, size = blake3(), 0
    target = None
    try:
        with source.place.open("rb") as file:
            if into is not None:
                place = into / source.path
                place.parent.mkdir(parents=True, exist_ok=True)
                target = place.open("xb")
            while data := file.read(CHUNK):
                digest.update(data)
                size += len(data)
                if target is not None:
                    target.write(data)
            if target is not None:
                os.fchmod(target.fileno(), source.mode & ~0o222)
    except FileNotFoundError:
        raise TreeError(f"{source.place} went away while it was read") from None
    finally:
        if target is not None:
            target.close()
    return FileEntry(source.path, size, source.mode, digest.hexdigest())


def problem(tree: Path, file: FileEntry) -> str:
    """What is wrong with one file of an object, or "" where its bytes are what the manifest says."""
    digest, size = blake3(), 0
    try:
        with (tree / file.path).open("rb") as source:
            while data := source.read(CHUNK):
                digest.update(data)
                size += len(data)
    except OSError as error:
        return f"{file.path} can't be read: {error.strerror}"
    if size != file.size_bytes or digest.hexdigest() != file.blake3:
        return f"{file.path} is damaged"
    return ""


def give_out(objects: Path, manifest: ManifestId, target: Path) -> None:
    """Copy an object's files below `target`, writable and verified. Raises TreeError, OSError, BadManifest."""
    held = load(objects, manifest)
    tree = tree_path(objects, manifest)
    for file in held.files:
        place = target / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        copied = _entry(_Source(file.path, tree / file.path, file.mode), target)
        place.chmod(file.mode)
        if copied != file:
            raise TreeError(f"object {manifest}: {file.path} is damaged")


def drop(objects: Path, manifest: ManifestId) -> None:
    """Delete an object; one that isn't there is no error. Raises OSError."""
    place = objects / manifest
    gone = objects / f".drop-{manifest}"
    try:
        place.rename(gone)
    except FileNotFoundError:
        pass
    except OSError:  # an earlier deletion was cut short
        shutil.rmtree(gone)
        place.rename(gone)
    if gone.exists():
        shutil.rmtree(gone)


def tidy(objects: Path) -> list[ManifestId]:
    """Remove what a crash left half done, partial fetches apart. Returns the objects that are here."""
    objects.mkdir(parents=True, exist_ok=True)
    found: list[ManifestId] = []
    for entry in sorted(objects.iterdir()):
        if entry.name.startswith((".keep-", ".drop-")):
            shutil.rmtree(entry, ignore_errors=True)
        elif (entry / "manifest.json").is_file():
            found.append(ManifestId(entry.name))
    return found
