"""What must hold between the records of a log, before they are stored and when they come back."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from moyai.model.codec import DecodeError, decode
from moyai.model.envelope import CorruptRecord, Record, open_record
from moyai.store.errors import OutOfStep


@dataclass(frozen=True, slots=True)
class Head:
    """The last event: its sequence and hash; 0 and GENESIS where there is none."""

    seq: int
    hash: str


def check_follows(epoch: int, head: Head, records: Sequence[Record]) -> None:
    """Raises OutOfStep where `records`, all of `epoch`, do not follow `head` one by one."""
    seq, prev = head.seq, head.hash
    for record in records:
        seq += 1
        if record.seq != seq or record.prev_hash != prev:
            raise OutOfStep(f"event {record.seq} does not follow event {seq - 1} ({prev[:12]}…)")
        if record.epoch != epoch:
            raise OutOfStep(f"event {record.seq} is of epoch {record.epoch}, its append of epoch {epoch}")
        prev = record.hash
        assert hashlib.sha256(record.data).hexdigest() == prev, f"event {seq} was sealed with a wrong hash"


def open_stored(seq: int, prev_hash: str, stored_hash: object, data: object) -> Record:
    """The record in `data` as a database gave it back, which must stand at `seq` after `prev_hash`.

    Raises CorruptRecord where the bytes do not match the hash stored with them, or do not follow.
    """
    if not isinstance(data, bytes):
        raise CorruptRecord(seq, "its bytes are lost")
    try:
        record = open_record(data, seq, prev_hash)
    except CorruptRecord:
        if hashlib.sha256(data).digest() == stored_hash:
            raise
    else:
        if bytes.fromhex(record.hash) == stored_hash:
            return record
    raise CorruptRecord(seq, "its bytes do not match the hash that is stored with them")


class _Link(msgspec.Struct, frozen=True):
    seq: int
    prev_hash: str


def check_stored(seq: int, prev_hash: str, stored_hash: object, data: object) -> str:
    """The hash of the record in `data`, which must stand at `seq` after `prev_hash`; its body is not looked at.

    As `open_stored`, but several times as fast. Raises CorruptRecord.
    """
    if not isinstance(data, bytes):
        raise CorruptRecord(seq, "its bytes are lost")
    digest = hashlib.sha256(data)
    if digest.digest() != stored_hash:
        raise CorruptRecord(seq, "its bytes do not match the hash that is stored with them")
    try:
        link = decode(data, _Link)
    except DecodeError as error:
        raise CorruptRecord(seq, str(error)) from None
    if link.seq != seq or link.prev_hash != prev_hash:
        raise CorruptRecord(seq, "it does not follow the event before it")
    return digest.hexdigest()
