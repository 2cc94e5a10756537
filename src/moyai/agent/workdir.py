"""Unpacking of the working directory that travels with a job: tar, zstd. The archive is not trusted."""

import tarfile
from pathlib import Path

MOST_BYTES = 2 << 30
MOST_ENTRIES = 100_000


class BadArchive(Exception):
    """An archive that is damaged, too large, or would write outside of its directory."""


def unpack(archive: Path, target: Path) -> None:
    """Unpack `archive` into the empty directory `target`. Raises BadArchive, OSError (a full disk).

    Files, directories, and links that stay inside; owners and special modes are not taken over.
    """
    import zstandard

    size = entries = 0
    try:
        with (
            archive.open("rb") as packed,
            zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            for member in tar:
                size += member.size
                entries += 1
                if size > MOST_BYTES or entries > MOST_ENTRIES:
                    raise BadArchive(f"it holds more than {MOST_BYTES} bytes or {MOST_ENTRIES} entries")
                tar.extract(member, target, set_attrs=True, filter="data")
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise BadArchive(f"it can't be unpacked: {error}") from None
