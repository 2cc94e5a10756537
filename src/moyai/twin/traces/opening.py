"""The door to a trace's file: plain, gzip, or a tar with one file in it. What it is, its bytes say, not its name."""

import gzip
import tarfile
import zlib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from moyai.twin.traces.trace import BadRow, TraceError

LINE_BYTES = 1 << 20
"""The longest line."""
HEAD_BYTES = 1 << 16
"""What is looked at to tell a format."""
WHOLE_BYTES = 1 << 28
"""The largest file that is read as one piece (JSON), unpacked."""
MEMBERS = 10_000
"""Entries of a tar that are looked at."""

_GZIP = b"\x1f\x8b"
_DAMAGE = (OSError, EOFError, zlib.error, tarfile.TarError)


def lines_of(path: Path) -> Generator[str]:
    """The lines of a file with their ends, as UTF-8, U+FFFD in the place of what isn't.

    Raises TraceError where the file can't be read, is damaged, or has a line longer than LINE_BYTES.
    """
    number = 0
    with _opened(path) as stream:
        while True:
            try:
                line = stream.readline(LINE_BYTES + 1)
            except _DAMAGE as error:
                raise _refused(path, f"can't be read on: {error}", number + 1) from error
            if not line:
                return
            number += 1
            if len(line) > LINE_BYTES:
                raise _refused(path, f"the line is longer than {LINE_BYTES} bytes", number)
            yield line.decode("utf-8", "replace")


def head_of(path: Path) -> list[str]:
    """The lines within the first HEAD_BYTES of a file, the last one perhaps cut; decoded and refused as `lines_of`."""
    with _opened(path) as stream:
        try:
            data = stream.read(HEAD_BYTES)
        except _DAMAGE as error:
            raise _refused(path, f"can't be read: {error}") from error
    return data.decode("utf-8", "replace").splitlines()


def bytes_of(path: Path) -> bytes:
    """All bytes of a file. Raises TraceError where it can't be read, is damaged, or is larger than WHOLE_BYTES."""
    with _opened(path) as stream:
        try:
            data = stream.read(WHOLE_BYTES + 1)
        except _DAMAGE as error:
            raise _refused(path, f"can't be read to its end: {error}") from error
    if len(data) > WHOLE_BYTES:
        raise _refused(path, f"is larger than {WHOLE_BYTES} bytes")
    return data


@contextmanager
def _opened(path: Path) -> Generator[IO[bytes]]:
    try:
        raw = path.open("rb")
    except FileNotFoundError:
        raise _refused(path, "there is no such file") from None
    except (OSError, ValueError) as error:
        raise _refused(path, f"can't be opened: {error}") from error
    with raw:
        try:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            is_tar = _is_tar(_unpacked(raw) if packed else raw)
            raw.seek(0)
        except _DAMAGE as error:
            raise _refused(path, f"can't be read: {error}") from error
        if is_tar:
            with _only_member(path, raw) as stream:
                yield stream
        elif packed:
            with _unpacked(raw) as stream:
                yield stream
        else:
            yield raw


def _unpacked(raw: IO[bytes]) -> BufferedReader:
    return BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 16)


def _is_tar(stream: IO[bytes]) -> bool:
    return stream.read(512)[257:262] == b"ustar"


@contextmanager
def _only_member(path: Path, raw: IO[bytes]) -> Generator[IO[bytes]]:
    with ExitStack() as stack:
        try:
            tar = stack.enter_context(tarfile.open(fileobj=raw, mode="r:*"))
            members: list[tarfile.TarInfo] = []
            for seen, member in enumerate(tar):
                if seen >= MEMBERS:
                    raise _refused(path, f"holds more than {MEMBERS} entries; unpack it, and name one file")
                # macOS puts a "._name" beside each file, with its attributes.
                if member.isfile() and not member.name.rpartition("/")[2].startswith("._"):
                    members.append(member)
            if len(members) != 1:
                raise _refused(path, f"holds {len(members)} files; unpack it, and name one of them")
            stream = tar.extractfile(members[0])
        except _DAMAGE as error:
            raise _refused(path, f"is a damaged tar: {error}") from error
        assert stream is not None  # a regular file
        yield stack.enter_context(stream)


def _refused(path: Path, problem: str, line: int = 0) -> TraceError:
    return TraceError((BadRow(str(path), line, problem),))
