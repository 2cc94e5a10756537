"""Unpacking of the working directory that travels with a job: tar, zstd. The archive is not trusted."""

import tarfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol, cast

if TYPE_CHECKING:
    import zstandard

MOST_BYTES = 2 << 30
MOST_ENTRIES = 100_000


class BadArchive(Exception):
    """An archive that is damaged, too large, or would write outside of its directory."""


def unpack(archive: Path, target: Path) -> None:
    """Unpack `archive` into the empty directory `target`. Raises BadArchive, OSError (a full disk)."""
    import zstandard

    try:
        with archive.open("rb") as packed, plain(packed) as tar:
            untar(tar, target)
    except zstandard.ZstdError as error:
        raise BadArchive(f"it can't be unpacked: {error}") from None


def plain(packed: BinaryIO) -> "zstandard.ZstdDecompressionReader":
    """The tar in an archive, as a stream."""
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed)


def untar(source: "Readable", target: Path, *, most_bytes: int = MOST_BYTES, most_entries: int = MOST_ENTRIES) -> None:
    """Unpack a plain tar from a stream. Raises BadArchive, OSError. Standard library only.

    Files, directories, and links that stay inside; owners and special modes are not taken over.
    """
    size = entries = 0
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", source), mode="r|") as tar:
            for member in tar:
                size += member.size
                entries += 1
                if size > most_bytes or entries > most_entries:
                    raise BadArchive(f"it holds more than {most_bytes} bytes or {most_entries} entries")
                tar.extract(member, target, set_attrs=True, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise BadArchive(f"it can't be unpacked: {error}") from None


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; fewer, or none, at its end."""
        ...
