"""The envelope of an event and its place in the hash chain.

A record's bytes are written once and kept verbatim; its hash is the SHA-256 of those bytes, which hold the hash of the
record before. The record at sequence 1 follows `GENESIS`.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from moyai.model.codec import DecodeError, decode, encode
from moyai.model.events import EVENTS, EventBody
from moyai.model.ids import ProjectName, TenantName
from moyai.model.quick import quick
from moyai.model.units import Instant
from moyai.model.upcast import upcast

GENESIS = "0" * 64
"""The hash that the first record names as the one before it."""

SYSTEM_TENANT = TenantName("-")
SYSTEM_PROJECT = ProjectName("-")
"""Whose events those are that belong to no tenant."""


class Origin(StrEnum):
    """Whether a fact came from outside or control decided it. A what-if replays the first, decides the second anew."""

    OUTSIDE = "outside"
    DECIDED = "decided"


@quick
@dataclass(frozen=True, slots=True)
class Draft:
    """An event that is not in the log yet.

    `request` is the idempotency key of the request behind it, or "<site>/<incarnation>/<number>" of a report.
    `cause` is the seq of the event it follows from; 0 where there is none, −k for the k-th record before it.
    """

    body: EventBody
    origin: Origin
    tenant: TenantName = SYSTEM_TENANT
    project: ProjectName = SYSTEM_PROJECT
    actor: str = "control"
    request: str = ""
    cause: int = 0
    reported_at: Instant | None = None


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The fields of a record, as in its bytes."""

    seq: int
    kind: str
    version: int
    recorded_at: int
    reported_at: int | None
    epoch: int
    tenant: str
    project: str
    actor: str
    request: str
    cause: int
    origin: Origin
    prev_hash: str
    body: msgspec.Raw


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event in the log: its envelope's fields, its body (upcast to the newest version), its bytes and their hash."""

    seq: int
    recorded_at: Instant
    reported_at: Instant | None
    epoch: int
    tenant: TenantName
    project: ProjectName
    actor: str
    request: str
    cause: int
    origin: Origin
    prev_hash: str
    body: EventBody
    data: bytes
    hash: str

    @property
    def kind(self) -> str:
        """The name of the event's type."""
        return type(self.body).__name__


class CorruptRecord(ValueError):
    """A record whose bytes can't be read, or that does not follow the one before it."""

    def __init__(self, seq: int, problem: str) -> None:
        super().__init__(f"event {seq}: {problem}")
        self.seq = seq
        self.problem = problem


def seal(draft: Draft, seq: int, prev_hash: str, recorded_at: Instant, epoch: int) -> Record:
    """The record of `draft` at `seq`, after the record whose hash is `prev_hash`.

    Raises DecodeError where it could not be read again: a float where an integer belongs must never reach the log.
    """
    body = draft.body
    kind = type(body).__name__
    cls, version = EVENTS[kind]
    cause = draft.cause if draft.cause >= 0 else seq + draft.cause
    raw = encode(body)
    decode(raw, cls)
    for number in (seq, recorded_at, draft.reported_at, epoch, cause):
        if number is not None and type(number) is not int:
            raise DecodeError(f"{kind}: its envelope holds {number!r} where an integer belongs")
    envelope = Envelope(
        seq=seq,
        kind=kind,
        version=version,
        recorded_at=recorded_at,
        reported_at=draft.reported_at,
        epoch=epoch,
        tenant=draft.tenant,
        project=draft.project,
        actor=draft.actor,
        request=draft.request,
        cause=cause,
        origin=draft.origin,
        prev_hash=prev_hash,
        body=msgspec.Raw(raw),
    )
    data = encode(envelope)
    return Record(
        seq,
        recorded_at,
        draft.reported_at,
        epoch,
        draft.tenant,
        draft.project,
        draft.actor,
        draft.request,
        cause,
        draft.origin,
        prev_hash,
        body,
        data,
        hashlib.sha256(data).hexdigest(),
    )


def open_record(data: bytes, seq: int, prev_hash: str) -> Record:
    """The record in `data`, which must stand at `seq` after `prev_hash`. Raises CorruptRecord."""
    try:
        envelope = decode(data, Envelope)
        if envelope.kind not in EVENTS:
            raise DecodeError(f"unknown kind {envelope.kind!r}; this version of Moyai is older than the log")
        cls, newest = EVENTS[envelope.kind]
        raw = envelope.body if envelope.version == newest else upcast(envelope.kind, envelope.version, envelope.body)
        body = decode(raw, cls)
    except DecodeError as error:
        raise CorruptRecord(seq, str(error)) from None
    if envelope.seq != seq:
        raise CorruptRecord(seq, f"its bytes say that it is event {envelope.seq}")
    if envelope.prev_hash != prev_hash:
        raise CorruptRecord(seq, f"it follows {envelope.prev_hash[:12]}…, but the event before it is {prev_hash[:12]}…")
    return Record(
        seq,
        Instant(envelope.recorded_at),
        None if envelope.reported_at is None else Instant(envelope.reported_at),
        envelope.epoch,
        TenantName(envelope.tenant),
        ProjectName(envelope.project),
        envelope.actor,
        envelope.request,
        envelope.cause,
        envelope.origin,
        prev_hash,
        body,
        data,
        hashlib.sha256(data).hexdigest(),
    )
