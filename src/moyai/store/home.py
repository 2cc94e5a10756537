"""Where a log lives: what `Log` needs of a database, and how a place is written down."""

import os
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from moyai.store.errors import LogError, NotALog
from moyai.store.sqlite import SqliteHome

LOG_FILE = "log.db"
"""The name of the log in the directory of a control plane."""

Place = Path | URL
"""A file for SQLite, or the address of a PostgreSQL database."""

_POSTGRES = ("postgresql", "postgres")


class Home(Protocol):
    """A database that holds a log. Its errors are SQLAlchemy's `DBAPIError`; `explain` says what they mean."""

    place: str
    """How messages call it. It never holds a password."""
    read_only: bool
    shared: bool
    """Several control planes may stand by at it, so a leader must hold its lease."""
    again_s: tuple[float, ...]
    """Pauses before a write whose connection was torn is tried again; empty where that can't be."""
    engine: Engine
    writer: Engine
    """The engine whose transactions write."""

    def check_there(self) -> None:
        """Raises Unwritable where the log is no longer at its place."""
        ...

    def damaged(self, error: Exception) -> bool:
        """Whether `error` tells of damage to what is stored."""
        ...

    def torn(self, error: Exception) -> bool:
        """Whether `error` tells that the connection is gone: the outcome is unknown, and another may succeed."""
        ...

    def explain(self, error: Exception, *, reading: bool = False) -> LogError:
        """The error of ours that `error`, met while `reading` or writing, means."""
        ...

    def alone(self, connection: Connection) -> None:
        """Until this transaction ends, no other process makes or changes tables. It may take long."""
        ...

    def grew(self, connection: Connection, seq: int) -> None:
        """With this transaction, whoever follows the log is told that it reaches to `seq`."""
        ...

    def erasing(self, connection: Connection) -> None:
        """From here on, what this connection deletes is to leave no trace."""
        ...

    def erased(self) -> None:
        """After the deletions were committed: whatever can be done about their traces. Raises LogError."""
        ...

    def close(self) -> None:
        """Closes every connection."""
        ...


def place_of(said: str) -> Place:
    """What a person wrote as a store: postgresql://…, sqlite:///FILE, a log's file, or the directory that it is in.

    Raises NotALog where it is none of these.
    """
    scheme, colon, _ = said.partition("://")
    if not colon:
        return _file(said)
    try:
        url = make_url(said)
    except (ArgumentError, ValueError):
        raise NotALog(f"{scheme}://…: can't be read as an address; write postgresql://HOST:PORT/DATABASE") from None
    kind = url.drivername.partition("+")[0]
    if kind in _POSTGRES:
        return url.set(drivername="postgresql+psycopg")
    if kind == "sqlite" and url.database:
        return _file(url.database)
    raise NotALog(f"{scheme}://…: no such store; write postgresql://HOST:PORT/DATABASE, or the path of a file")


def _file(said: str) -> Path:
    path = Path(os.path.abspath(Path(said).expanduser()))
    return path if path.suffix == ".db" or path.is_file() else path / LOG_FILE


def open_home(place: Place, *, create: bool, read_only: bool) -> Home:
    """Opens the database at `place`. Raises LogError."""
    if isinstance(place, Path):
        return SqliteHome(place, create=create, read_only=read_only)
    from moyai.store.postgres import PostgresHome

    return PostgresHome(place, read_only=read_only)
