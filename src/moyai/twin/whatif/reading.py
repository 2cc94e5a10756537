"""The records of a real log: an export, or the log of a control plane's directory, which is only read."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from moyai.model.envelope import GENESIS, CorruptRecord, Record, open_record


class NoLog(Exception):
    """There is no log that can be read; the text says why and what to do."""


def records(path: Path) -> Iterator[Record]:
    """Every record, in order, each verified. `path`: an export, a log, or the directory that holds one.

    Raises NoLog where there is none, or an event of it doesn't hold.
    """
    try:
        if path.is_dir():
            yield from _stored(path / _log_file())
        elif _is_database(path):
            yield from _stored(path)
        else:
            yield from _exported(path)
    except CorruptRecord as error:
        raise NoLog(f"{path}: {error}; `moyai log verify` says more") from None


def _log_file() -> str:
    from moyai.store.log import LOG_FILE

    return LOG_FILE


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except FileNotFoundError:
        raise NoLog(f"{path}: there is no such file or directory") from None
    except OSError as error:
        raise NoLog(f"{path}: can't be read ({error.strerror})") from None


def _stored(path: Path) -> Iterator[Record]:
    from moyai.store.errors import LogError
    from moyai.store.log import Log

    try:
        with Log.open(path, create=False, read_only=True) as log:
            yield from log.read()
    except LogError as error:
        raise NoLog(str(error)) from None


def _exported(path: Path) -> Iterator[Record]:
    head, seq = GENESIS, 0
    try:
        with path.open("rb") as file:
            for line in file:
                seq += 1
                if not line.endswith(b"\n"):
                    raise CorruptRecord(seq, "its line is cut off")
                record = open_record(line[:-1], seq, head)
                head = hashlib.sha256(record.data).hexdigest()
                yield record
    except OSError as error:
        raise NoLog(f"{path}: can't be read ({error.strerror})") from None
