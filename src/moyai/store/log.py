"""The log: events in a hash chain, the sealed texts they refer to, and checkpoints, in one database.

An append is one transaction that checks the control epoch and moves the head. Reading trusts nothing: bytes, hashes,
chain, gaps and the head are checked as it goes.
"""

import logging
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Error
from typing import Any, Self

from sqlalchemy import Connection, bindparam, delete, func, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError

from moyai.model.envelope import GENESIS, CorruptRecord, Record
from moyai.model.ids import TenantName, TextRef
from moyai.store.chain import Head, check_follows, check_stored, open_stored
from moyai.store.checkpoint import KEEP, Checkpoint
from moyai.store.errors import NotALog, OutOfStep, StaleEpoch, Unreadable
from moyai.store.schema import CHECKPOINT, EVENT, FORMAT, LOG, METADATA, ONLY_ROW, SEALED
from moyai.store.sqlite import SqliteHome

LOG_FILE = "log.db"
"""The name of the log in the directory of a control plane."""

_CHUNK = 1_024  # events read in one query
_IN = 500  # values in one IN (…)
_LOG = logging.getLogger("moyai.store")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A tenant's text as it is stored: `data` is ciphertext."""

    ref: TextRef
    tenant: TenantName
    data: bytes


_THE_ROW = LOG.c.id == ONLY_ROW
_ALL_OF_LOG = select(LOG.c.format, LOG.c.epoch, LOG.c.head_seq, LOG.c.head_hash).where(_THE_ROW)
_ENDS = select(LOG.c.head_seq, select(func.max(EVENT.c.seq)).scalar_subquery()).where(_THE_ROW)
_RAISE_EPOCH = update(LOG).where(_THE_ROW).values(epoch=LOG.c.epoch + 1)
_MOVE_HEAD = (
    update(LOG)
    .where(
        _THE_ROW,
        LOG.c.epoch == bindparam("at_epoch"),
        LOG.c.head_seq == bindparam("from_seq"),
        LOG.c.head_hash == bindparam("from_hash"),
    )
    .values(head_seq=bindparam("to_seq"), head_hash=bindparam("to_hash"))
)
_ADD_EVENTS = insert(EVENT)
_ADD_SEALED = insert(SEALED)
_READ = (
    select(EVENT.c.seq, EVENT.c.hash, EVENT.c.data)
    .where(EVENT.c.seq > bindparam("after"), EVENT.c.seq <= bindparam("until"))
    .order_by(EVENT.c.seq)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class _Stored:
    """The row of `log`."""

    epoch: int
    head: Head


class Log:
    """One log. `append`, `take_over`, `erase` and `save_checkpoint` are serial; reading may go on in other threads."""

    def __init__(self, home: SqliteHome) -> None:
        """Use `open`."""
        self._home = home
        self._lock = threading.Lock()
        stored = self._stored()
        self._head = stored.head
        self._epoch = stored.epoch

    @classmethod
    def open(cls, path: Path, *, create: bool = True, read_only: bool = False) -> Self:
        """The log in the file `path`; made there where `create` and nothing is there yet.

        `read_only` changes nothing in the file and works beside a running server. Raises NotALog, Unreadable,
        Unwritable or LogFull. Does not verify the events: `read` does.
        """
        home = SqliteHome(path, create=create, read_only=read_only)
        try:
            _check_tables(home, create and not read_only)
            return cls(home)
        except DBAPIError as error:
            home.close()
            raise home.explain(error, reading=read_only or home.damaged(error)) from error
        except BaseException:
            home.close()
            raise

    @property
    def path(self) -> Path:
        """The file of the log."""
        return self._home.path

    @property
    def head(self) -> Head:
        """The last event, as far as this object wrote or last looked."""
        return self._head

    @property
    def epoch(self) -> int:
        """The control epoch, as far as this object last looked. 0: nobody took over yet."""
        return self._epoch

    def take_over(self) -> int:
        """Raises the stored control epoch by one and returns it. Appends of older epochs fail from here on."""
        with self._lock:
            with self._writing() as connection:
                connection.execute(_RAISE_EPOCH)
                stored = _stored(connection, self._home.path)
            self._head, self._epoch = stored.head, stored.epoch
            return stored.epoch

    def append(self, epoch: int, records: Sequence[Record], sealed: Sequence[Sealed] = ()) -> None:
        """Stores `records`, which follow the head, and the texts they refer to; on return all of it is on the disk.

        All or nothing. An append that failed may be tried again as it is: records that did get in are not doubled.
        Raises StaleEpoch, OutOfStep, LogFull or Unwritable.
        """
        if not records:
            raise OutOfStep("an append of no events")
        with self._lock:
            check_follows(epoch, self._head, records)
            last = records[-1]
            to = Head(last.seq, last.hash)
            move: dict[str, Any] = {
                "at_epoch": epoch,
                "from_seq": self._head.seq,
                "from_hash": bytes.fromhex(self._head.hash),
                "to_seq": to.seq,
                "to_hash": bytes.fromhex(to.hash),
            }
            rows: list[dict[str, Any]] = [
                {"seq": r.seq, "hash": bytes.fromhex(r.hash), "data": r.data} for r in records
            ]
            with self._writing() as connection:
                if connection.execute(_MOVE_HEAD, move).rowcount == 1:
                    connection.execute(_ADD_EVENTS, rows)
                    _add_sealed(connection, sealed)
                else:
                    self._why_not_moved(connection, epoch, to)
            self._head = to

    def read(self, after: int = 0, until: int | None = None, prev_hash: str | None = None) -> Iterator[Record]:
        """The records with `after` < seq ≤ `until` (None, or one past the end: to the head), in order, each verified.

        `prev_hash` is the hash of the event at `after` where the caller knows it; else the stored one is taken.
        Raises CorruptRecord at the first event that is damaged or missing, ValueError where `after` is past the head.
        """
        stored = self._stored()
        if self._home.read_only:
            self._head, self._epoch = stored.head, stored.epoch
        head = stored.head
        if not 0 <= after <= head.seq:
            raise ValueError(f"there is no event {after}; the log ends at event {head.seq}")
        last = head.seq if until is None else min(until, head.seq)
        prev = self._hash_before(after) if prev_hash is None else prev_hash
        seq = after
        while seq < last:
            for found, stored_hash, data in self._chunk(seq, last):
                seq += 1
                if found != seq:
                    raise CorruptRecord(seq, "it is missing from the log")
                record = open_stored(seq, prev, stored_hash, data)
                prev = record.hash
                yield record
        if seq == head.seq and prev != head.hash:
            raise CorruptRecord(seq, "it is not the event that the log's head names")
        if until is None:
            self._check_nothing_past_head()

    def scan(self, after: int, until: int) -> Iterator[Head]:
        """Checks the bytes, hashes and chain of the events with `after` < seq ≤ `until`, not their bodies.

        Yields how far it came, every thousand events or so, and `until` at last. Raises CorruptRecord.
        """
        prev = self._hash_before(after)
        seq = after
        while seq < until:
            for found, stored_hash, data in self._chunk(seq, until):
                seq += 1
                if found != seq:
                    raise CorruptRecord(seq, "it is missing from the log")
                prev = check_stored(seq, prev, stored_hash, data)
            yield Head(seq, prev)

    def hash_at(self, seq: int) -> str | None:
        """The stored hash of the event at `seq` (GENESIS at 0), or None where it is missing or can't be read."""
        if seq == 0:
            return GENESIS
        try:
            with self._home.engine.connect() as connection:
                value = connection.execute(select(EVENT.c.hash).where(EVENT.c.seq == seq)).scalar()
        except DBAPIError as error:
            if self._home.damaged(error):
                return None
            raise self._home.explain(error, reading=True) from error
        return value.hex() if isinstance(value, bytes) else None

    def sealed(self, ref: TextRef) -> Sealed | None:
        """The sealed text under `ref`, or None where it was erased."""
        wanted = select(SEALED.c.ref, SEALED.c.tenant, SEALED.c.data).where(SEALED.c.ref == ref)
        with self._reading() as connection:
            row = connection.execute(wanted).one_or_none()
        if row is None:
            return None
        if not _are(row, str, str, bytes):
            raise Unreadable(f"{self._home.path}: the sealed text {ref} is damaged")
        return Sealed(TextRef(row.ref), TenantName(row.tenant), row.data)

    def erase(self, refs: Iterable[TextRef]) -> int:
        """Deletes the sealed texts under `refs`, overwriting their bytes; how many there were. The chain still holds.

        Two events with the same text of the same tenant share it.
        """
        wanted = sorted(set(refs))
        count = 0
        with self._lock:
            with self._writing() as connection:
                self._home.erasing(connection)
                for at in range(0, len(wanted), _IN):
                    gone = connection.execute(delete(SEALED).where(SEALED.c.ref.in_(wanted[at : at + _IN])))
                    count += gone.rowcount
            try:
                self._home.erased()
            except Error as error:
                raise self._home.explain(error) from error
        return count

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keeps `checkpoint` and the two before it. Raises OutOfStep where it is not of this log."""
        row: dict[str, Any] = {
            "seq": checkpoint.seq,
            "head_hash": bytes.fromhex(checkpoint.head_hash),
            "state_hash": bytes.fromhex(checkpoint.state_hash),
            "code_version": checkpoint.code_version,
            "state": checkpoint.state,
            "signature": checkpoint.signature,
        }
        if self.hash_at(checkpoint.seq) != checkpoint.head_hash:
            raise OutOfStep(f"a checkpoint at event {checkpoint.seq} that is not of this log")
        with self._lock, self._writing() as connection:
            connection.execute(delete(CHECKPOINT).where(CHECKPOINT.c.seq == checkpoint.seq))
            connection.execute(insert(CHECKPOINT), row)
            kept = connection.execute(select(CHECKPOINT.c.seq).order_by(CHECKPOINT.c.seq.desc()).limit(KEEP)).scalars()
            connection.execute(delete(CHECKPOINT).where(CHECKPOINT.c.seq < min(kept)))

    def checkpoints(self) -> Iterator[Checkpoint]:
        """The checkpoints, newest first, not verified (see `moyai.store.checkpoint.restore`); damaged ones left out."""
        with self._reading() as connection:
            seqs = connection.execute(select(CHECKPOINT.c.seq).order_by(CHECKPOINT.c.seq.desc())).scalars().all()
        for seq in seqs:
            try:
                with self._home.engine.connect() as connection:
                    row = connection.execute(select(CHECKPOINT).where(CHECKPOINT.c.seq == seq)).one_or_none()
            except DBAPIError as error:
                if not self._home.damaged(error):
                    raise self._home.explain(error, reading=True) from error
                _LOG.warning("checkpoint at event %d can't be read: %s", seq, error.orig)
                continue
            if row is not None and _are(row, int, bytes, bytes, str, bytes, bytes):
                yield Checkpoint(
                    row.seq, row.head_hash.hex(), row.state_hash.hex(), row.code_version, row.state, row.signature
                )

    def close(self) -> None:
        """Closes the log. It must not be used after."""
        self._home.close()

    def __enter__(self) -> Self:
        """The log itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes the log."""
        self.close()

    def _stored(self) -> _Stored:
        with self._reading() as connection:
            return _stored(connection, self._home.path)

    def _hash_before(self, after: int) -> str:
        found = self.hash_at(after)
        if found is None:
            raise CorruptRecord(after, "it is missing from the log")
        return found

    def _check_nothing_past_head(self) -> None:
        with self._reading() as connection:
            head, highest = connection.execute(_ENDS).one()  # in one statement: a server may be writing
        if highest is not None and highest > head:
            raise CorruptRecord(head + 1, "it stands past the log's head")

    def _why_not_moved(self, connection: Connection, epoch: int, to: Head) -> None:
        stored = _stored(connection, self._home.path)
        if stored.epoch != epoch:
            raise StaleEpoch(epoch, stored.epoch)
        if stored.head != to:  # equal: an append whose answer was lost, tried again
            raise OutOfStep(f"the log is at event {stored.head.seq}, this control plane at {self._head.seq}")

    def _chunk(self, after: int, until: int) -> Sequence[tuple[int, Any, Any]]:
        """The next rows past `after`: many where they can be read, else the ones before the damaged one."""
        try:
            rows = self._rows(after, until, _CHUNK)
        except DBAPIError as error:
            if not self._home.damaged(error):
                raise self._home.explain(error, reading=True) from error
            rows = self._rows_one_by_one(after, until)
        if not rows:
            raise CorruptRecord(after + 1, "it is missing from the log")
        return rows

    def _rows(self, after: int, until: int, most: int) -> Sequence[tuple[int, Any, Any]]:
        with self._home.engine.connect() as connection:
            result = connection.execute(_READ, {"after": after, "until": until, "most": most})
            return [(row[0], row[1], row[2]) for row in result.all()]

    def _rows_one_by_one(self, after: int, until: int) -> Sequence[tuple[int, Any, Any]]:
        rows: list[tuple[int, Any, Any]] = []
        try:
            while len(rows) < _CHUNK and (more := self._rows(after + len(rows), until, 1)):
                rows.extend(more)
        except DBAPIError as error:
            if not rows:
                raise CorruptRecord(after + 1, f"it can't be read from the disk: {error.orig}") from error
        return rows

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        try:
            with self._home.engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise self._home.explain(error, reading=True) from error

    @contextmanager
    def _writing(self) -> Generator[Connection]:
        self._home.check_there()
        try:
            with self._home.writer.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise self._home.explain(error) from error
        self._home.check_there()


def _check_tables(home: SqliteHome, create: bool) -> None:
    """Makes the tables of a new log, or raises NotALog where others are there."""
    with home.engine.connect() as connection:
        found = set(inspect(connection).get_table_names())
    if found or not create:
        if not METADATA.tables.keys() <= found:
            raise NotALog(f"{home.path}: a database, but not a log of Moyai")
        return
    with home.writer.begin() as connection:
        if not inspect(connection).get_table_names():  # another process may have been as fast
            METADATA.create_all(connection, checkfirst=False)
            first: dict[str, Any] = {"id": ONLY_ROW, "format": FORMAT, "epoch": 0, "head_seq": 0}
            connection.execute(insert(LOG), first | {"head_hash": bytes.fromhex(GENESIS)})


def _stored(connection: Connection, path: Path) -> _Stored:
    row = connection.execute(_ALL_OF_LOG).one_or_none()
    if row is None or not _are(row, int, int, int, bytes):
        raise NotALog(f"{path}: the log's head is damaged; restore the file from a copy")
    if row[0] > FORMAT:
        raise NotALog(f"{path}: a newer Moyai wrote this log (format {row[0]}, this one knows {FORMAT}); update Moyai")
    return _Stored(row[1], Head(row[2], row[3].hex()))


def _are(row: Sequence[Any], *types: type) -> bool:
    # A damaged byte may turn a value into one of another type.
    return all(type(value) is kind for value, kind in zip(row, types, strict=True))


def _add_sealed(connection: Connection, sealed: Sequence[Sealed]) -> None:
    # The same text again has the same ref: it is kept once. The head's row is locked, so nobody adds it meanwhile.
    new = {s.ref: s for s in sealed}
    refs = list(new)
    for at in range(0, len(refs), _IN):
        known = select(SEALED.c.ref).where(SEALED.c.ref.in_(refs[at : at + _IN]))
        for ref in connection.execute(known).scalars().all():
            del new[TextRef(ref)]
    if new:
        rows: list[dict[str, Any]] = [{"ref": s.ref, "tenant": s.tenant, "data": s.data} for s in new.values()]
        connection.execute(_ADD_SEALED, rows)
