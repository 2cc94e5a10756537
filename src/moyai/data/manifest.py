"""A manifest: what files a tree has, in one canonical order. Its id is the content address of the tree. Pure.

Only regular files count, with two modes (0o644, 0o755); a directory is there because a file is in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3

from moyai.model.codec import DecodeError, decode, encode
from moyai.model.ids import ManifestId

PLAIN, EXECUTABLE = 0o644, 0o755
MOST_FILES = 1_000_000
MOST_PATH_BYTES = 4_000


class BadManifest(ValueError):
    """Bytes that are no manifest, or paths that no tree may have; the message says which."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: its path from the tree's root with "/", and what is in it."""

    path: str
    size_bytes: int
    mode: int  # PLAIN or EXECUTABLE
    blake3: str  # of its bytes, in hex


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a tree, sorted by path. Make it by `manifest_of`."""

    files: tuple[FileEntry, ...]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)

    def data(self) -> bytes:
        """The canonical bytes."""
        return encode(self)

    @property
    def id(self) -> ManifestId:
        """BLAKE3 of the canonical bytes, in hex."""
        return ManifestId(blake3(self.data()).hexdigest())

    def tops(self) -> tuple[str, ...]:
        """The names at the root of the tree, sorted."""
        return tuple(sorted({file.path.partition("/")[0] for file in self.files}))


def manifest_of(files: Iterable[FileEntry]) -> Manifest:
    """The manifest of `files`, in whatever order they come. Raises BadManifest."""
    manifest = Manifest(tuple(sorted(files, key=lambda file: file.path)))
    _check(manifest)
    return manifest


def parse(data: bytes, expected: ManifestId | None = None) -> Manifest:
    """The manifest in canonical bytes; they must hash to `expected` where that is given. Raises BadManifest."""
    if expected is not None and blake3(data).hexdigest() != expected:
        raise BadManifest(f"its bytes are not those of manifest {expected}")
    try:
        manifest = decode(data, Manifest)
    except DecodeError as error:
        raise BadManifest(str(error)) from None
    _check(manifest)
    if manifest.data() != data:
        raise BadManifest("its bytes are not canonical")
    return manifest


def safe_path(path: str) -> bool:
    """Whether a path stays inside the tree by its words alone: relative, no empty part, no ".", no ".."."""
    if not path or "\0" in path:
        return False
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return False
    return size <= MOST_PATH_BYTES and all(part not in ("", ".", "..") for part in path.split("/"))


def is_id(text: str) -> bool:
    """Whether `text` is a BLAKE3 digest in hex: safe as a file's name."""
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)


def _check(manifest: Manifest) -> None:
    if len(manifest.files) > MOST_FILES:
        raise BadManifest(f"{len(manifest.files)} files; a tree has {MOST_FILES} at most")
    paths: set[str] = set()
    folders: set[str] = set()
    before = ""
    for file in manifest.files:
        if not safe_path(file.path):
            raise BadManifest(f"the path {file.path!r} leads out of the tree, or is no path")
        if file.path <= before:
            raise BadManifest(f"{file.path!r} comes after {before!r}: paths are sorted, each there once")
        if file.size_bytes < 0 or file.mode not in (PLAIN, EXECUTABLE) or not is_id(file.blake3):
            raise BadManifest(f"the entry of {file.path!r} has a size, a mode or a digest that can't be")
        paths.add(file.path)
        parts = file.path.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
        before = file.path
    both = paths & folders
    if both:
        raise BadManifest(f"{min(both)!r} is a file and a directory")
