"""The log: events in a hash chain, the sealed texts they refer to, and checkpoints, in one database.

An append is one transaction that checks the control epoch and moves the head. Reading trusts nothing: bytes, hashes,
chain, gaps and the head are checked as it goes.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from moyai.model.envelope import Record
from moyai.model.ids import TenantName, TextRef
from moyai.store.chain import Head, check_follows
from moyai.store.checkpoint import KEEP, Checkpoint
from moyai.store.errors import NotALog, OutOfStep, StaleEpoch, Unreadable
from moyai.store.events import Events
from moyai.store.home import LOG_FILE, Home, Place, open_home, place_of
from moyai.store.schema import CHECKPOINT, EVENT, FORMAT, LOG, ONLY_ROW, SEALED
from moyai.store.session import Session
from moyai.store.upgrade import check_tables

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
_RAISE_EPOCH = update(LOG).where(_THE_ROW).values(epoch=LOG.c.epoch + 1)
_HOLD = update(LOG).where(_THE_ROW).values(epoch=LOG.c.epoch)
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
_SEALED_AT = select(SEALED.c.ref, SEALED.c.tenant, SEALED.c.data).where(SEALED.c.ref == bindparam("wanted"))
_CHECKPOINT_SEQS = select(CHECKPOINT.c.seq).order_by(CHECKPOINT.c.seq.desc())


@dataclass(frozen=True, slots=True)
class _Stored:
    """The row of `log`."""

    epoch: int
    head: Head


class Log:
    """One log. `append`, `take_over`, `erase` and `save_checkpoint` are serial; reading may go on in other threads."""

    def __init__(self, home: Home) -> None:
        """Use `open`."""
        self._home = home
        self.session = Session(home)
        self._events = Events(self.session)
        self._lock = threading.Lock()
        stored = self._stored()
        self._head = stored.head
        self._epoch = stored.epoch

    @classmethod
    def open(cls, place: Place | str, *, create: bool = True, read_only: bool = False) -> Self:
        """The log at `place`; made there where `create` and nothing is there yet. See `place_of` for a string.

        `read_only` changes nothing and works beside a running server. Raises NotALog, Unreadable, Unwritable, Away or
        LogFull. Does not verify the events: `read` does.
        """
        found = place_of(place) if isinstance(place, str) else place
        home = open_home(found, create=create, read_only=read_only)
        try:
            check_tables(home, create and not read_only)
            return cls(home)
        except DBAPIError as error:
            home.close()
            raise home.explain(error, reading=read_only or home.damaged(error)) from error
        except BaseException:
            home.close()
            raise

    @property
    def place(self) -> str:
        """Where the log is, in words: its file, or its database without a password."""
        return self._home.place

    @property
    def home(self) -> Home:
        """The database of the log."""
        return self._home

    @property
    def head(self) -> Head:
        """The last event, as far as this object wrote or last looked."""
        return self._head

    @property
    def epoch(self) -> int:
        """The control epoch, as far as this object last looked. 0: nobody took over yet."""
        return self._epoch

    def take_over(self, claim: Callable[[Connection, int], None] | None = None) -> int:
        """Raises the stored control epoch by one and returns it. Appends of older epochs fail from here on.

        `claim` is given the transaction and the new epoch, and refuses by raising. Raises LogError.
        """

        def raise_epoch(connection: Connection) -> _Stored:
            connection.execute(_RAISE_EPOCH)
            stored = _stored(connection, self._home.place)
            if claim is not None:
                claim(connection, stored.epoch)
            return stored

        with self._lock:
            stored = self.session.write(raise_epoch)
            self._head, self._epoch = stored.head, stored.epoch
            return stored.epoch

    def settle(self) -> Head:
        """The head, once no append is under way any more, not even one whose connection was torn. Raises LogError."""

        def hold(connection: Connection) -> _Stored:
            connection.execute(_HOLD)  # waits for whoever moves the head
            return _stored(connection, self._home.place)

        with self._lock:
            stored = self.session.write(hold)
            self._head, self._epoch = stored.head, stored.epoch
            return stored.head

    def look(self) -> Head:
        """The head as it is now, which another process may have moved. Raises LogError."""
        stored = self._stored()
        self._head, self._epoch = stored.head, stored.epoch
        return stored.head

    def append(self, epoch: int, records: Sequence[Record], sealed: Sequence[Sealed] = ()) -> None:
        """Stores `records`, which follow the head, and the texts they refer to; on return all of it is on the disk.

        All or nothing. An append that failed may be tried again as it is: records that did get in are not doubled.
        Raises StaleEpoch, OutOfStep, LogFull, Unwritable or Away.
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

            def store(connection: Connection) -> None:
                if connection.execute(_MOVE_HEAD, move).rowcount == 1:
                    connection.execute(_ADD_EVENTS, rows)
                    _add_sealed(connection, sealed)
                    self._home.grew(connection, to.seq)
                else:
                    self._why_not_moved(connection, epoch, to)

            self.session.write(store)
            self._head = to

    def read(self, after: int = 0, until: int | None = None, prev_hash: str | None = None) -> Iterator[Record]:
        """The records with `after` < seq ≤ `until` (None, or one past the end: to the head), in order, each verified.

        `prev_hash` is the hash of the event at `after` where the caller knows it; else the stored one is taken.
        Raises CorruptRecord at the first event that is damaged or missing, ValueError where `after` is past the head.
        """
        stored = self._stored()
        if self._home.read_only:
            self._head, self._epoch = stored.head, stored.epoch
        yield from self._events.read(stored.head, after, until, prev_hash)

    def scan(self, after: int, until: int) -> Iterator[Head]:
        """Checks the bytes, hashes and chain of the events with `after` < seq ≤ `until`, not their bodies.

        Yields how far it came, every thousand events or so, and `until` at last. Raises CorruptRecord.
        """
        return self._events.scan(after, until)

    def hash_at(self, seq: int) -> str | None:
        """The stored hash of the event at `seq` (GENESIS at 0), or None where it is missing or can't be read."""
        return self._events.hash_at(seq)

    def sealed(self, ref: TextRef) -> Sealed | None:
        """The sealed text under `ref`, or None where it was erased."""
        row = self.session.read(lambda connection: connection.execute(_SEALED_AT, {"wanted": ref}).one_or_none())
        if row is None:
            return None
        if not _are(row, str, str, bytes):
            raise Unreadable(f"{self._home.place}: the sealed text {ref} is damaged")
        return Sealed(TextRef(row.ref), TenantName(row.tenant), row.data)

    def erase(self, refs: Iterable[TextRef]) -> int:
        """Deletes the sealed texts under `refs`, overwriting their bytes; how many there were. The chain still holds.

        Two events with the same text of the same tenant share it.
        """
        wanted = sorted(set(refs))

        def wipe(connection: Connection) -> int:
            self._home.erasing(connection)
            count = 0
            for at in range(0, len(wanted), _IN):
                count += connection.execute(delete(SEALED).where(SEALED.c.ref.in_(wanted[at : at + _IN]))).rowcount
            return count

        with self._lock:
            count = self.session.write(wipe)
            self._home.erased()
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

        def save(connection: Connection) -> None:
            connection.execute(delete(CHECKPOINT).where(CHECKPOINT.c.seq == checkpoint.seq))
            connection.execute(insert(CHECKPOINT), row)
            kept = connection.execute(_CHECKPOINT_SEQS.limit(KEEP)).scalars()
            connection.execute(delete(CHECKPOINT).where(CHECKPOINT.c.seq < min(kept)))

        with self._lock:
            self.session.write(save)

    def checkpoints(self) -> Iterator[Checkpoint]:
        """The checkpoints, newest first, not verified (see `moyai.store.checkpoint.restore`); damaged ones left out."""
        for seq in self.session.read(lambda connection: connection.execute(_CHECKPOINT_SEQS).scalars().all()):
            one = select(CHECKPOINT).where(CHECKPOINT.c.seq == seq)
            try:
                row = self.session.read_raw(lambda connection, one=one: connection.execute(one).one_or_none())
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
        return self.session.read(lambda connection: _stored(connection, self._home.place))

    def _why_not_moved(self, connection: Connection, epoch: int, to: Head) -> None:
        stored = _stored(connection, self._home.place)
        if stored.epoch != epoch:
            raise StaleEpoch(epoch, stored.epoch)
        if stored.head != to:  # equal: an append whose answer was lost, tried again
            raise OutOfStep(f"the log is at event {stored.head.seq}, this control plane at {self._head.seq}")


def _stored(connection: Connection, place: str) -> _Stored:
    row = connection.execute(_ALL_OF_LOG).one_or_none()
    if row is None or not _are(row, int, int, int, bytes):
        raise NotALog(f"{place}: the log's head is damaged; restore it from a copy")
    if row[0] > FORMAT:
        raise NotALog(f"{place}: a newer Moyai wrote this log (format {row[0]}, this one knows {FORMAT}); update Moyai")
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


__all__ = ["LOG_FILE", "Log", "Sealed"]
