"""The archive of a working directory that travels with a job: tar, zstd, named by the BLAKE3 of its bytes.

The same files give the same bytes: sorted order, no times, no owners, two modes. So a directory that was sent before is
known by its id and not sent again.
"""

import fnmatch
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moyai.client.errors import MoyaiError
from moyai.model.ids import BlobId

LIMIT_BYTES = 64 * 1024 * 1024
"""Of all files together, before compression."""
LIMIT_FILES = 20_000
IGNORE_FILE = ".moyaiignore"
ALWAYS_SKIPPED = frozenset({".git", ".hg", ".svn", ".venv", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Archive:
    """A packed directory. `left_out` counts links that lead out of it and files that are no files."""

    blob: BlobId
    data: bytes
    files: int
    size_bytes: int  # of the files, unpacked
    left_out: int


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str  # relative, with "/"
    path: Path
    mode: int
    size: int
    target: str = ""  # of a link


def pack(directory: Path, exclude: tuple[Path, ...] = ()) -> Archive:
    """The archive of `directory`, without .git, .venv, __pycache__, `exclude` and what .moyaiignore names.

    A line of .moyaiignore is a name ("data", "*.ckpt") or, with a slash, a path below the directory ("runs/old").
    Raises MoyaiError "not-a-directory", "too-large" or "unreadable".
    """
    import zstandard
    from blake3 import blake3

    root = directory.resolve()
    if not root.is_dir():
        raise MoyaiError("not-a-directory", f"{directory} is not a directory")
    entries, left_out = _collect(root, {path.resolve() for path in exclude})
    raw = io.BytesIO()
    compressor = zstandard.ZstdCompressor(level=3)
    with (
        compressor.stream_writer(raw, closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        entries = [entry for entry in entries if _added(tar, entry)]
    data = raw.getvalue()
    if len(data) > LIMIT_BYTES:
        raise _too_large(root, entries, by_count=False)
    files = sum(1 for entry in entries if not stat.S_ISDIR(entry.mode))
    size = sum(entry.size for entry in entries)
    return Archive(BlobId(blake3(data).hexdigest()), data, files, size, left_out)


def _added(tar: tarfile.TarFile, entry: _Entry) -> bool:
    """Write one entry. False where the file has vanished since it was seen: as if it had never been there."""
    info = tarfile.TarInfo(entry.name)
    if entry.target:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
        tar.addfile(info)
    elif stat.S_ISDIR(entry.mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    else:
        info.size, info.mode = entry.size, 0o755 if entry.mode & stat.S_IXUSR else 0o644
        try:
            data = entry.path.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unreadable(entry.path, error) from None
        if len(data) != entry.size:
            raise MoyaiError(
                "unreadable", f"{entry.path} changed while it was read", f"try again, or name it in {IGNORE_FILE}"
            )
        tar.addfile(info, io.BytesIO(data))
    return True


def _collect(root: Path, excluded: set[Path]) -> tuple[list[_Entry], int]:
    patterns = _patterns(root / IGNORE_FILE)
    entries: list[_Entry] = []
    left_out = size = files = 0
    for found in _walk(root, "", patterns, excluded):
        if found.target and not _inside(root, found):
            left_out += 1
            continue
        if not (found.target or stat.S_ISREG(found.mode) or stat.S_ISDIR(found.mode)):
            left_out += 1
            continue
        entries.append(found)
        size += found.size
        files += not stat.S_ISDIR(found.mode)
        if size > LIMIT_BYTES or files > LIMIT_FILES:
            raise _too_large(root, entries, files > LIMIT_FILES)
    return entries, left_out


def _walk(folder: Path, prefix: str, patterns: tuple[str, ...], excluded: set[Path]) -> Iterator[_Entry]:
    try:
        with os.scandir(folder) as scan:
            children = sorted(scan, key=lambda child: child.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(folder, error) from None
    for child in children:
        name, path = prefix + child.name, folder / child.name
        if child.name in ALWAYS_SKIPPED or _ignored(name, child.name, patterns) or path in excluded:
            continue
        try:
            name.encode()
            info = child.stat(follow_symlinks=False)
            target = os.readlink(path) if stat.S_ISLNK(info.st_mode) else ""
        except FileNotFoundError:
            continue
        except UnicodeEncodeError:
            raise MoyaiError(
                "unreadable", f"the name of {name!r} is not UTF-8", f"rename it, or name it in {IGNORE_FILE}"
            ) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        size = info.st_size if stat.S_ISREG(info.st_mode) else 0
        yield _Entry(name, path, info.st_mode, size, target)
        if stat.S_ISDIR(info.st_mode):
            yield from _walk(path, name + "/", patterns, excluded)


def _patterns(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from None
    return tuple(line.strip().rstrip("/") for line in lines if line.strip() and not line.strip().startswith("#"))


def _ignored(name: str, base: str, patterns: tuple[str, ...]) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern.lstrip("/")) if "/" in pattern else fnmatch.fnmatchcase(base, pattern)
        for pattern in patterns
    )


def _inside(root: Path, link: _Entry) -> bool:
    """Whether a link is relative and stays below the root by its own words, so that unpacking is safe anywhere."""
    if os.path.isabs(link.target):
        return False
    landed = os.path.normpath(os.path.join(os.path.dirname(link.name), link.target))
    return landed != ".." and not landed.startswith("../")


def _too_large(root: Path, entries: list[_Entry], by_count: bool) -> MoyaiError:
    tops: dict[str, int] = {}
    for entry in entries:
        top = entry.name.partition("/")[0]
        tops[top] = tops.get(top, 0) + (1 if by_count else entry.size)
    largest = sorted(tops, key=lambda top: (-tops[top], top))[:3]
    bound = f"{LIMIT_FILES:,} files" if by_count else f"{LIMIT_BYTES // 2**20} MiB"
    return MoyaiError(
        "too-large",
        f"the working directory holds more than {bound}; most of what was counted lies in {', '.join(largest)}",
        f"name in {IGNORE_FILE} what the job does not need, register large input by `moyai data add`, "
        "or run with --no-workdir",
        where=str(root),
    )


def _unreadable(path: Path, error: Exception) -> MoyaiError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return MoyaiError(
        "unreadable", f"can't be read: {reason}", f"make it readable, or name it in {IGNORE_FILE}", str(path)
    )
