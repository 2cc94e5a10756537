"""Reading the events of a log. Nothing is trusted: bytes, hashes, chain, gaps and the head are checked as it goes."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import DBAPIError

from moyai.model.envelope import GENESIS, CorruptRecord, Record
from moyai.store.chain import Head, check_stored, open_stored
from moyai.store.schema import EVENT, LOG, ONLY_ROW
from moyai.store.session import Session

_CHUNK = 1_024  # events read in one query
_ENDS = select(LOG.c.head_seq, select(func.max(EVENT.c.seq)).scalar_subquery()).where(LOG.c.id == ONLY_ROW)
_READ = (
    select(EVENT.c.seq, EVENT.c.hash, EVENT.c.data)
    .where(EVENT.c.seq > bindparam("after"), EVENT.c.seq <= bindparam("until"))
    .order_by(EVENT.c.seq)
    .limit(bindparam("most"))
)
_Row = tuple[int, Any, Any]


class Events:
    """The events of one log."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, head: Head, after: int, until: int | None, prev_hash: str | None) -> Iterator[Record]:
        """The records with `after` < seq ≤ `until` of a log that ends at `head`; see `Log.read`."""
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
        """Checks the bytes, hashes and chain of the events with `after` < seq ≤ `until`; see `Log.scan`."""
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
        wanted = select(EVENT.c.hash).where(EVENT.c.seq == seq)
        try:
            value = self._session.read_raw(lambda connection: connection.execute(wanted).scalar())
        except DBAPIError as error:
            if self._session.home.damaged(error):
                return None
            raise self._session.home.explain(error, reading=True) from error
        return value.hex() if isinstance(value, bytes) else None

    def _hash_before(self, after: int) -> str:
        found = self.hash_at(after)
        if found is None:
            raise CorruptRecord(after, "it is missing from the log")
        return found

    def _check_nothing_past_head(self) -> None:
        # In one statement: a server may be writing.
        head, highest = self._session.read(lambda connection: connection.execute(_ENDS).one())
        if highest is not None and highest > head:
            raise CorruptRecord(head + 1, "it stands past the log's head")

    def _chunk(self, after: int, until: int) -> Sequence[_Row]:
        """The next rows past `after`: many where they can be read, else the ones before the damaged one."""
        try:
            rows = self._rows(after, until, _CHUNK)
        except DBAPIError as error:
            if not self._session.home.damaged(error):
                raise self._session.home.explain(error, reading=True) from error
            rows = self._rows_one_by_one(after, until)
        if not rows:
            raise CorruptRecord(after + 1, "it is missing from the log")
        return rows

    def _rows(self, after: int, until: int, most: int) -> Sequence[_Row]:
        wanted = {"after": after, "until": until, "most": most}
        found = self._session.read_raw(lambda connection: connection.execute(_READ, wanted).all())
        return [(row[0], row[1], row[2]) for row in found]

    def _rows_one_by_one(self, after: int, until: int) -> Sequence[_Row]:
        rows: list[_Row] = []
        try:
            while len(rows) < _CHUNK and (more := self._rows(after + len(rows), until, 1)):
                rows.extend(more)
        except DBAPIError as error:
            if not rows:
                raise CorruptRecord(after + 1, f"it can't be read from the disk: {error.orig}") from error
        return rows
