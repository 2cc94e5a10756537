"""Blobs in the database of a shared log: archives of working directories that every control plane must have."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from moyai.store.schema import BLOB, BLOB_PIECE
from moyai.store.session import Session

PIECE_BYTES = 1 << 20
"""Of one row; the last one of a blob may be shorter."""

_IN = 500
_SIZE = select(BLOB.c.size_bytes).where(BLOB.c.blob == bindparam("name"))
_PIECE = select(BLOB_PIECE.c.data).where(BLOB_PIECE.c.blob == bindparam("name"), BLOB_PIECE.c.piece == bindparam("at"))
_TOUCH = update(BLOB).where(BLOB.c.blob == bindparam("name")).values(touched_us=bindparam("to_us"))


class StoredBlobs:
    """The blobs of one log. A blob is there whole or not at all. Every method blocks, and raises LogError."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, blob: str, pieces: Callable[[], Iterable[bytes]], now_us: int) -> int:
        """Keep a blob; its bytes. `pieces` gives it in pieces of at most PIECE_BYTES, again where a try was torn."""

        def store(connection: Connection) -> int:
            if (known := connection.execute(_SIZE, {"name": blob}).scalar()) is not None:
                connection.execute(_TOUCH, {"name": blob, "to_us": now_us})
                return known
            size = 0
            for at, data in enumerate(pieces()):
                assert len(data) <= PIECE_BYTES
                size += len(data)
                row: dict[str, Any] = {"blob": blob, "piece": at, "data": data}
                connection.execute(insert(BLOB_PIECE), row)
            connection.execute(insert(BLOB), {"blob": blob, "size_bytes": size, "touched_us": now_us})
            return size

        return self._session.write(store)

    def get(self, blob: str) -> Iterator[bytes] | None:
        """The pieces of a blob, or None where there is none. The caller checks them against the name."""
        size = self._session.read(lambda connection: connection.execute(_SIZE, {"name": blob}).scalar())
        return None if size is None else self._pieces(blob, size)

    def _pieces(self, blob: str, size: int) -> Iterator[bytes]:
        for at in range(-(-size // PIECE_BYTES)):
            wanted = {"name": blob, "at": at}
            data = self._session.read(lambda connection, w=wanted: connection.execute(_PIECE, w).scalar())
            if not isinstance(data, bytes):
                return  # deleted meanwhile: what came so far does not match the name
            yield data

    def touch(self, blob: str, now_us: int) -> bool:
        """Keep a blob for another while. False where it is not there."""
        wanted = {"name": blob, "to_us": now_us}
        return self._session.write(lambda connection: connection.execute(_TOUCH, wanted).rowcount) == 1

    def touched_us(self, blob: str) -> int:
        """When a blob was last touched; 0 where there is none."""
        wanted = select(BLOB.c.touched_us).where(BLOB.c.blob == blob)
        return self._session.read(lambda connection: connection.execute(wanted).scalar()) or 0

    def names(self, before_us: int | None = None) -> tuple[str, ...]:
        """The blobs that were not touched since `before_us` (None: all), by name."""
        wanted = select(BLOB.c.blob).order_by(BLOB.c.blob)
        if before_us is not None:
            wanted = wanted.where(BLOB.c.touched_us < before_us)
        return tuple(self._session.read(lambda connection: connection.execute(wanted).scalars().all()))

    def delete(self, blobs: Iterable[str], before_us: int) -> int:
        """Delete those of `blobs` that were not touched since `before_us`; how many."""
        wanted = sorted(set(blobs))

        def wipe(connection: Connection) -> int:
            gone = 0
            for at in range(0, len(wanted), _IN):
                some = BLOB.c.blob.in_(wanted[at : at + _IN])
                old = connection.execute(select(BLOB.c.blob).where(some, BLOB.c.touched_us < before_us)).scalars().all()
                connection.execute(delete(BLOB_PIECE).where(BLOB_PIECE.c.blob.in_(old)))
                gone += connection.execute(delete(BLOB).where(BLOB.c.blob.in_(old))).rowcount
            return gone

        return self._session.write(wipe)


def pieces_of(path: Path) -> Iterator[bytes]:
    """A file in pieces for `put`. Raises OSError."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
