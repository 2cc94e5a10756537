"""A SQLite file as the home of a log: how it is opened, what its errors mean. All that is special to SQLite is here."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from moyai.store.errors import LogError, LogFull, NotALog, Unreadable, Unwritable

BUSY_MS = 5_000
"""How long a statement waits for another process's write."""

WRITES = "moyai_writes"
"""Execution option of an engine whose transactions write: they take the write lock at once."""

_MAGIC = b"SQLite format 3\0"
_WAL_KEPT_BYTES = 64 << 20
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR)
_NO_CODE = 0  # of errors that the driver itself raises, as over text that is not UTF-8
_REFUSED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH)


class SqliteHome:
    """One SQLite file: WAL, and every commit on the disk before it returns."""

    def __init__(self, path: Path, *, create: bool, read_only: bool) -> None:
        """Opens `path`, an absolute or relative file. Raises NotALog, Unreadable or Unwritable."""
        self.path = path
        self.place = str(path)
        self.read_only = read_only
        self.shared = False
        self.again_s: tuple[float, ...] = ()
        self._inode = self._prepare(create and not read_only)
        self._immutable = read_only and self._must_be_immutable()
        self.engine: Engine = create_engine(
            "sqlite://", creator=self._connect, poolclass=QueuePool, pool_size=4, max_overflow=12
        )
        event.listen(self.engine, "begin", _begin)
        self.writer: Engine = self.engine.execution_options(**{WRITES: True})
        try:
            mode = self._outside_transactions("PRAGMA journal_mode")
        except (DBAPIError, sqlite3.Error) as error:
            self.close()
            raise self.explain(error, reading=read_only or self.damaged(error)) from error
        if mode != "wal" and not self._immutable and not read_only:
            self.close()
            raise Unwritable(f"{path}: this file system can't hold the log's write-ahead file; use a local disk")

    def check_there(self) -> None:
        """Raises Unwritable where the file is no longer at its path: SQLite would go on writing to what was deleted."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise Unwritable(
                f"{self.path}: the log's file is gone ({error.strerror}); nothing can be stored. "
                "Put it back, or start again in another directory"
            ) from None
        if (found.st_dev, found.st_ino) != self._inode:
            raise Unwritable(f"{self.path}: another file was put in the place of the log; nothing can be stored in it")

    def damaged(self, error: Exception) -> bool:
        """Whether `error` tells of damage to what is stored, and not of locks, permissions or a full disk."""
        return _code(error) in (*_DAMAGED, _NO_CODE)

    def torn(self, error: Exception) -> bool:
        """False: there is no connection that could be torn."""
        return False

    def explain(self, error: Exception, *, reading: bool = False) -> LogError:
        """The error of ours that `error`, met while `reading` or writing, means."""
        code, said = _code(error), str(error.orig if isinstance(error, DBAPIError) else error)
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and not self._room()):
            return LogFull(
                f"{self.path}: the disk is full; nothing was written, and the log is as it was. Free some space"
            )
        if code == sqlite3.SQLITE_NOTADB:
            return NotALog(f"{self.path}: not a log of Moyai ({said})")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unwritable(f"{self.path}: another process has held the log for {BUSY_MS // 1000} s ({said})")
        if reading:
            return Unreadable(f"{self.path}: the log can't be read ({said}){_hint(code)}")
        return Unwritable(f"{self.path}: the log can't be written ({said}); nothing is in effect{_hint(code)}")

    def alone(self, connection: Connection) -> None:
        """A writing transaction is alone as it is."""

    def grew(self, connection: Connection, seq: int) -> None:
        """Nobody follows a file."""

    def erasing(self, connection: Connection) -> None:
        """From here on, what this connection deletes is overwritten with zeros."""
        connection.exec_driver_sql("PRAGMA secure_delete=ON")

    def erased(self) -> None:
        """Moves the deletions into the file and empties the write-ahead file, which still held what was deleted.

        Raises LogError. Where a reader is in the way, the write-ahead file is emptied by a later write.
        """
        try:
            self._outside_transactions("PRAGMA wal_checkpoint(TRUNCATE)")
        except (DBAPIError, sqlite3.Error) as error:
            raise self.explain(error) from error

    def close(self) -> None:
        """Closes every connection; the last one of all processes folds the write-ahead file into the log."""
        self.engine.dispose()

    def _prepare(self, create: bool) -> tuple[int, int]:
        try:
            if create and not self.path.exists():
                # Its permissions pass on to the write-ahead file.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
                _sync_directory(self.path.parent)
            with self.path.open("rb") as file:
                start = file.read(len(_MAGIC))
                found = os.fstat(file.fileno())
        except FileNotFoundError:
            if create:
                raise Unwritable(f"{self.path.parent}: no such directory; make it first") from None
            raise NotALog(f"{self.path}: no log there") from None
        except IsADirectoryError:
            raise NotALog(f"{self.path}: a directory, not a log") from None
        except OSError as error:
            kind = Unwritable if create else Unreadable
            raise kind(f"{self.path}: the log can't be opened ({error.strerror}); check the permissions") from None
        if start != _MAGIC and (start or not create):
            raise NotALog(f"{self.path}: not a log of Moyai" + ("" if start else " (the file is empty)"))
        if not self.read_only and not os.access(self.path, os.W_OK, effective_ids=True):
            raise Unwritable(f"{self.path}: the log can't be written (Permission denied); check the permissions")
        return found.st_dev, found.st_ino

    def _must_be_immutable(self) -> bool:
        # A log at rest in a place where no shared-memory file can be made (a read-only medium) can still be read.
        wal = Path(f"{self.path}-wal")
        at_rest = not wal.exists() or wal.stat().st_size == 0
        return at_rest and not os.access(self.path.parent, os.W_OK, effective_ids=True)

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rw"
        uri = f"file:{quote(os.fsencode(self.path.absolute()))}?mode={mode}" + (
            "&immutable=1" if self._immutable else ""
        )
        connection = sqlite3.connect(
            uri, BUSY_MS / 1000, isolation_level=None, check_same_thread=False, factory=_Connection, uri=True
        )
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA trusted_schema=OFF")
            cursor.execute("PRAGMA cell_size_check=ON")
            if self.read_only:
                cursor.execute("PRAGMA query_only=ON")
            else:
                cursor.execute("PRAGMA journal_mode=WAL")
                cursor.execute("PRAGMA synchronous=FULL")
                cursor.execute(f"PRAGMA journal_size_limit={_WAL_KEPT_BYTES}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _outside_transactions(self, pragma: str) -> object:
        with closing(self.engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(pragma)
            return cursor.fetchall()[0][0]

    def _room(self) -> bool:
        try:
            disk = os.statvfs(self.path.parent)
        except OSError:
            return True
        return disk.f_bavail * disk.f_frsize >= 1 << 16


class _Cursor(sqlite3.Cursor):
    """A cursor for which an error message that quotes damaged text is an error like any other."""

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        """As `sqlite3.Cursor.execute`."""
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            raise sqlite3.DatabaseError(f"the tables' own description is damaged: {error.object!r}") from None


class _Connection(sqlite3.Connection):
    """A connection with such cursors."""

    def cursor(self, factory: Any = _Cursor) -> Any:
        """As `sqlite3.Connection.cursor`."""
        return super().cursor(factory)


def _begin(connection: Connection) -> None:
    # Python's driver would begin late and without the lock; a write that first read could then never get it.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _code(error: Exception) -> int:
    # The primary code is the low byte of the extended one.
    own = error.orig if isinstance(error, DBAPIError) else error
    return getattr(own, "sqlite_errorcode", _NO_CODE) & 0xFF


def _hint(code: int) -> str:
    if code in _REFUSED:
        return "; check that the disk is mounted for writing, and the permissions of the directory"
    if code in _DAMAGED:
        return "; `moyai log verify` says what is damaged"
    return ""


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
