"""Moving a log from one database to another: all of it or nothing, and the target is read whole before it counts.

The events go byte for byte; sealed texts, checkpoints, the keys' marks and the blobs go with them. Keys do not: they
never lie in a database.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, inspect, select, update

from moyai.model.envelope import GENESIS, CorruptRecord
from moyai.store.blobs import StoredBlobs, pieces_of
from moyai.store.chain import Head
from moyai.store.errors import LogError, OutOfStep, Unwritable
from moyai.store.export import verify
from moyai.store.home import Place
from moyai.store.log import Log
from moyai.store.running import check_unled, held_apart
from moyai.store.schema import BLOB, BLOB_PIECE, CHECKPOINT, EVENT, KEY_CHECK, LOG, ONLY_ROW, SEALED

_CHUNK = 1_024
_BLOB = re.compile(r"[0-9a-f]{64}")
_COPIED = (EVENT, SEALED, CHECKPOINT, KEY_CHECK, BLOB_PIECE, BLOB)


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was moved."""

    events: int
    head: Head
    epoch: int
    texts: int
    checkpoints: int
    blobs: int


def migrate(source: Place, target: Place, told: Callable[[int, int], None] = lambda done, of: None) -> Migrated:
    """Copies the log at `source` to `target`, where there is none yet; `told(events, of)` now and then.

    Neither may have a running control plane. Raises LogError, CorruptRecord at the first event that does not hold.
    """
    with held_apart(source), Log.open(source, create=False, read_only=True) as old:
        check_unled(old)
        if isinstance(target, Path):
            _make_directory(target.parent)
        with held_apart(target), Log.open(target) as new:
            check_unled(new)
            if new.head.seq or new.epoch:
                raise Unwritable(
                    f"{new.place}: there is a log in it already ({new.head.seq} events); nothing was changed. "
                    "Name an empty database or a new directory"
                )
            move = _Move(old, new, told)
            done = new.session.write(move.copy)
            try:
                _check(old, new)
            except (LogError, CorruptRecord):
                new.session.write(_wipe)
                raise
            if isinstance(target, Path):
                blobs = _to_files(StoredBlobs(old.session), target.parent / "blobs")
                return Migrated(done.events, done.head, done.epoch, done.texts, done.checkpoints, blobs)
            return done


class _Move:
    """One copy, which may have to be done again where the connection to the target is torn."""

    def __init__(self, old: Log, new: Log, told: Callable[[int, int], None]) -> None:
        self._old = old
        self._new = new
        self._told = told

    def copy(self, connection: Connection) -> Migrated:
        """Write everything in the one transaction of `connection`."""
        old = self._old
        self._new.home.alone(connection)
        _wipe(connection)
        head = self._events(connection)
        epoch = old.epoch
        row: dict[str, Any] = {"epoch": epoch, "head_seq": head.seq, "head_hash": bytes.fromhex(head.hash)}
        connection.execute(update(LOG).where(LOG.c.id == ONLY_ROW).values(row))
        texts = self._table(connection, SEALED)
        checkpoints = self._table(connection, CHECKPOINT)
        self._table(connection, KEY_CHECK)
        blobs = self._blobs(connection)
        return Migrated(head.seq, head, epoch, texts, checkpoints, blobs)

    def _events(self, connection: Connection) -> Head:
        head, of, rows = Head(0, GENESIS), self._old.head.seq, list[dict[str, Any]]()
        for record in self._old.read():
            rows.append({"seq": record.seq, "hash": bytes.fromhex(record.hash), "data": record.data})
            head = Head(record.seq, record.hash)
            if len(rows) == _CHUNK:
                connection.execute(insert(EVENT), rows)
                rows.clear()
                self._told(head.seq, of)
        if rows:
            connection.execute(insert(EVENT), rows)
        self._told(head.seq, of)
        return head

    def _table(self, connection: Connection, table: Table) -> int:
        """Copy the rows of `table`, in the order of its one key."""
        if not self._old.session.read(lambda source: inspect(source).has_table(table.name)):
            return 0  # an older release's log
        (key,) = table.primary_key.columns
        count, last = 0, None
        while True:
            wanted = select(table).order_by(key).limit(_CHUNK)
            if last is not None:
                wanted = wanted.where(key > last)
            found = self._old.session.read(lambda source, w=wanted: source.execute(w).mappings().all())
            if not found:
                return count
            connection.execute(insert(table), [dict(row) for row in found])
            count += len(found)
            last = found[-1][key.name]

    def _blobs(self, connection: Connection) -> int:
        """Blobs go into a database that is to be shared. Those of a directory are files."""
        if not self._new.home.shared:
            return 0
        count = 0
        for name, touched_us, pieces in self._old_blobs():
            size = 0
            for at, data in enumerate(pieces):
                piece: dict[str, Any] = {"blob": name, "piece": at, "data": data}
                connection.execute(insert(BLOB_PIECE), piece)
                size += len(data)
            connection.execute(insert(BLOB), {"blob": name, "size_bytes": size, "touched_us": touched_us})
            count += 1
        return count

    def _old_blobs(self) -> Iterator[tuple[str, int, Iterable[bytes]]]:
        if self._old.home.shared:
            stored = StoredBlobs(self._old.session)
            for name in stored.names():
                yield name, stored.touched_us(name), stored.get(name) or ()
            return
        for path in sorted((Path(self._old.place).parent / "blobs").glob("*")):
            if _BLOB.fullmatch(path.name) and path.is_file():
                yield path.name, path.stat().st_mtime_ns // 1_000, pieces_of(path)


def _wipe(connection: Connection) -> None:
    for table in _COPIED:
        connection.execute(delete(table))
    empty: dict[str, Any] = {"epoch": 0, "head_seq": 0, "head_hash": bytes.fromhex(GENESIS)}
    connection.execute(update(LOG).where(LOG.c.id == ONLY_ROW).values(empty))


def _check(old: Log, new: Log) -> None:
    """The target holds, and the source did not move meanwhile."""
    before, epoch = old.head, old.epoch
    if old.look() != before or old.epoch != epoch:
        raise OutOfStep(f"{old.place}: the log grew while it was copied; end its control plane first")
    new.look()
    if verify(new).head != before:
        raise OutOfStep(f"{new.place}: the copy does not end as {old.place} does")


def _to_files(stored: StoredBlobs, directory: Path) -> int:
    names = stored.names()
    if names:
        _make_directory(directory)
    try:
        for name in names:
            part = directory / f"{name}.part"
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                for piece in stored.get(name) or ():
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            part.replace(directory / name)
    except OSError as error:
        raise Unwritable(
            f"{directory}: the blobs can't be written ({error.strerror}); the log itself is there"
        ) from None
    return len(names)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"{directory}: can't be made ({error.strerror})") from None
