"""Verifying and exporting a log. An export is one event a line, each the event's very bytes."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from moyai.model.envelope import GENESIS, CorruptRecord, open_record
from moyai.store.chain import Head
from moyai.store.errors import NotALog, Unwritable
from moyai.store.home import LOG_FILE, Place
from moyai.store.log import Log

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Verified:
    """Every event up to `head` was read, and its hash, chain and body hold."""

    events: int
    head: Head


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds: the events from 1 to `head`, in `size_bytes`."""

    events: int
    head: Head
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Checked:
    """What `moyai log verify` says. `good` holds as far as the chain does; `bad_seq` is None where all of it does."""

    place: str
    epoch: int
    events: int  # that the log says it has
    good: Verified
    bad_seq: int | None = None
    problem: str = ""
    hint: str = ""


def verify(log: Log) -> Verified:
    """Reads the whole log. Raises CorruptRecord at the first event that does not hold."""
    head = Head(0, GENESIS)
    for record in log.read():
        head = Head(record.seq, record.hash)
    return Verified(head.seq, head)


def export(log: Log, out: Path | BinaryIO, until: int | None = None) -> Exported:
    """Writes the events up to `until` (None: all) to `out`, verifying them on the way.

    A file appears whole or not at all, and none is overwritten. Raises CorruptRecord, ValueError where `until` is past
    the log's end, Unwritable where `out` can't be written.
    """
    if until is not None and not 0 <= until <= log.head.seq:
        raise ValueError(f"there is no event {until}; the log ends at event {log.head.seq}")
    if not isinstance(out, Path):
        return _write(log, out, until)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with part.open("xb", buffering=_BUFFER_BYTES) as file:
            exported = _write(log, file, until)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, out)  # unlike a rename it fails where the name is taken
        return exported
    except FileExistsError:
        raise Unwritable(f"{out}: there is a file of this name; move it away or give another name") from None
    except OSError as error:
        raise Unwritable(f"{out}: the export can't be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


def verify_export(path: Path) -> Verified:
    """Reads an export. Raises CorruptRecord at the first line that does not hold, NotALog where it can't be opened.

    An export has no head of its own: lines cut off at its end are noticed only by comparing `head` with the log's.
    """
    head = Head(0, GENESIS)
    for line in _lines(path):
        seq = head.seq + 1
        if not line.endswith(b"\n"):
            raise CorruptRecord(seq, "its line is cut off")
        data = line[:-1]
        open_record(data, seq, head.hash)
        head = Head(seq, hashlib.sha256(data).hexdigest())
    return Verified(head.seq, head)


def verify_directory(directory: Path) -> Checked:
    """`verify_place` of the log in a control plane's directory."""
    return verify_place(directory / LOG_FILE)


def verify_place(place: Place) -> Checked:
    """What `moyai log verify` does, beside a running server too. Raises LogError where there is no log to read."""
    with Log.open(place, read_only=True) as log:
        events, last = log.head.seq, Head(0, GENESIS)
        try:
            for record in log.read():
                last = Head(record.seq, record.hash)
        except CorruptRecord as error:
            good = min(last.seq, error.seq - 1)
            return Checked(
                log.place,
                log.epoch,
                events,
                Verified(last.seq, last),
                error.seq,
                error.problem,
                f"`moyai log export --until {good}` saves the events before it",
            )
        return Checked(log.place, log.epoch, last.seq, Verified(last.seq, last))


def export_directory(directory: Path, out: Path | BinaryIO, until: int | None = None) -> Exported:
    """`export_place` of the log in a control plane's directory."""
    return export_place(directory / LOG_FILE, out, until)


def export_place(place: Place, out: Path | BinaryIO, until: int | None = None) -> Exported:
    """What `moyai log export` does, beside a running server too. Raises LogError, CorruptRecord or ValueError."""
    with Log.open(place, read_only=True) as log:
        return export(log, out, until)


def _write(log: Log, file: BinaryIO, until: int | None) -> Exported:
    head, size = Head(0, GENESIS), 0
    for record in log.read(until=until):
        file.write(record.data)
        file.write(b"\n")
        size += len(record.data) + 1
        head = Head(record.seq, record.hash)
    return Exported(head.seq, head, size)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=_BUFFER_BYTES) as file:
            yield from file
    except OSError as error:
        raise NotALog(f"{path}: the export can't be read ({error.strerror})") from None
