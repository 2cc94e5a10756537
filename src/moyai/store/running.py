"""Whether a control plane is at work on a log, and how it looks to somebody who asks from outside."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import inspect, select

from moyai.store.chain import Head
from moyai.store.errors import Unwritable
from moyai.store.home import Place
from moyai.store.log import Log
from moyai.store.schema import FIRST_REVISION, VERSION

LOCK_FILE = "lock"
"""In the directory of a control plane: its server holds it as long as it lives."""

_WORDS = "end it first (`moyai down`), so that nothing is added meanwhile"


@dataclass(frozen=True, slots=True)
class Standing:
    """A log as it is now. `leader` is "" where no control plane leads, as far as can be seen."""

    place: str
    database: str
    """The kind and version of what holds it."""
    revision: str
    epoch: int
    head: Head
    leader: str
    answer_us: int
    warnings: tuple[str, ...]


@contextmanager
def held_apart(place: Place) -> Generator[None]:
    """No control plane is at work in the directory of `place`, and none begins. Raises Unwritable.

    A database has no lock of this kind: see `check_unled`.
    """
    if not isinstance(place, Path):
        yield
        return
    descriptor = _lock(place.parent)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def check_unled(log: Log) -> None:
    """Raises Unwritable where a control plane leads the shared log, LogError."""
    if leader := _leader(log):
        raise Unwritable(f"{log.place}: a control plane leads this log ({leader}); {_WORDS}")


def standing(place: Place) -> Standing:
    """The log at `place`, looked at without a change. Raises LogError."""
    with Log.open(place, create=False, read_only=True) as log:
        begun = time.monotonic_ns()
        head = log.look()
        took_us = (time.monotonic_ns() - begun) // 1_000
        database, warnings = _database(log)
        leader = _holder(place.parent) if isinstance(place, Path) else _leader(log)
        return Standing(log.place, database, _revision(log), log.epoch, head, leader, took_us, warnings)


def _database(log: Log) -> tuple[str, tuple[str, ...]]:
    if not log.home.shared:
        import sqlite3

        return f"SQLite {sqlite3.sqlite_version}", ()
    asked = (
        "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('full_page_writes'), "
        "pg_is_in_recovery(), current_setting('max_connections')"
    )
    row = log.session.read(lambda connection: connection.exec_driver_sql(asked).one())
    warnings: list[str] = []
    if row[1] == "off" or row[2] == "off":
        warnings.append("fsync or full_page_writes is off: a crash of its machine may lose or damage events")
    if row[3]:
        warnings.append("this is a replica: a control plane needs the primary")
    if int(row[4]) < 40:
        warnings.append(f"max_connections is {row[4]}: two control planes may need up to 40")
    return f"PostgreSQL {row[0]}", tuple(warnings)


def _revision(log: Log) -> str:
    tables = log.session.read(lambda connection: inspect(connection).get_table_names())
    if VERSION.name not in tables:
        return FIRST_REVISION
    return log.session.read(lambda connection: connection.execute(select(VERSION.c.version_num)).scalar_one())


def _leader(log: Log) -> str:
    """Who leads a shared log, in words; "" for any other."""
    if not log.home.shared:
        return ""
    from moyai.store.leader import leader_of

    found = leader_of(log)
    return found.where if found.leads else ""


def _holder(directory: Path) -> str:
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        said = os.read(descriptor, 20).decode("ascii", "replace").strip()
        return f"{directory} (process {said})"
    finally:
        os.close(descriptor)
    return ""


def _lock(directory: Path) -> int | None:
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None  # a place that can't be written has no server either
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise Unwritable(f"{directory}: a control plane is at work on this log; {_WORDS}") from None
    return descriptor
