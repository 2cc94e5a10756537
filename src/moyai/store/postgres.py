"""A PostgreSQL database as the home of a log: its connections, what its errors mean. All that is special to it is here.

An append is durable when COMMIT returns: `synchronous_commit` is on whatever the server's default. Where a connection
is torn in the middle, the row of the head stays locked until the server has ended that transaction, so whoever looks
next sees its outcome.
"""

import logging
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from moyai.store.errors import Away, LogError, LogFull, NotALog, Unreadable, Unwritable

CONNECT_S = 3
"""How long a connection may take to come up."""
LOCK_MS = 5_000
"""How long a statement waits for another's lock."""
HELD_MS = 2_000
"""A transaction that does nothing for so long is ended by the server: a stopped process must not hold the head."""
ALONE_MS = 60_000
"""The same for the making of tables and the copy of a whole log."""
CHANNEL = "moyai_log"
"""On which the growth of the log is told, and the change of its leader."""

_AGAIN_S = (0.0, 0.05, 0.2, 0.5, 1.0)
_ALONE = 0x6D6F7961690001  # our advisory lock on the tables: "moyai", 1
_DEFAULTS: dict[str, str] = {
    "connect_timeout": str(CONNECT_S),
    "application_name": "moyai",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_QUICK = {"connect_timeout": "2", "tcp_user_timeout": "1000"}
_SETTINGS = (
    "SET synchronous_commit = on; SET default_transaction_isolation = 'read committed'; "
    f"SET lock_timeout = {LOCK_MS}; SET idle_in_transaction_session_timeout = {HELD_MS}; SET client_encoding = 'UTF8'"
)
_CONNECTION_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "40001", "40P01"})
_LOG = logging.getLogger("moyai.store")


class PostgresHome:
    """One PostgreSQL database, with a pool of connections."""

    def __init__(self, url: URL, *, read_only: bool) -> None:
        """Connects once. Raises NotALog, Unreadable or Away."""
        self.place = url.set(drivername="postgresql").render_as_string(hide_password=True)
        self.read_only = read_only
        self.shared = True
        self.again_s = _AGAIN_S
        self.url = url
        self.engine: Engine = create_engine(
            url, connect_args=_arguments(url), pool_size=4, max_overflow=12, pool_timeout=10, pool_recycle=1_800
        )
        event.listen(self.engine, "connect", self._settle)
        self.writer: Engine = self.engine
        # The leader's renewals must not wait behind anything, nor long for an answer.
        self.quick: Engine = create_engine(
            url, connect_args=_arguments(url) | _QUICK, pool_size=1, max_overflow=1, pool_timeout=1
        )
        event.listen(self.quick, "connect", self._settle_quick)
        try:
            with self.engine.connect() as connection:
                unsafe = connection.exec_driver_sql("SELECT current_setting('fsync') = 'off'").scalar()
        except DBAPIError as error:
            self.close()
            raise self.explain(error, reading=True) from error
        if unsafe:
            _LOG.warning("%s: the server runs with fsync = off: a crash of its machine may lose events", self.place)

    def listen(self) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of its own that is told when the log grows or its leader changes. Raises LogError."""
        try:
            connection = psycopg.connect(_conninfo(self.url), autocommit=True)
            connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error as error:
            raise self.explain(error, reading=True) from error
        return connection

    def check_there(self) -> None:
        """Nothing to see from here: the server knows where its files are."""

    def damaged(self, error: Exception) -> bool:
        """Whether `error` tells of damage to what is stored."""
        return _state(error) in {"XX001", "XX002"}

    def torn(self, error: Exception) -> bool:
        """Whether the connection is gone, or the server took the transaction back: another try may succeed."""
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        state = _state(error)
        if state:
            return state.startswith("08") or state in _CONNECTION_STATES
        own = _own(error)
        return isinstance(own, psycopg.OperationalError | psycopg.InterfaceError) and not _refusal(str(own))

    def explain(self, error: Exception, *, reading: bool = False) -> LogError:
        """The error of ours that `error`, met while `reading` or writing, means."""
        own, state = _own(error), _state(error)
        said = " ".join(str(own).split()).rstrip(".")
        if (refusal := _refusal(said)) and not state:
            return Unreadable(
                f"{self.place}: {refusal.format(user=self.url.username or '', db=self.url.database or '')}"
            )
        if self.torn(error):
            why = said.partition(" Is the server running")[0]
            return Away(
                f"{self.place}: the database can't be reached ({why}); is the server up, and the address right?"
            )
        match state:
            case "53100":
                return LogFull(
                    f"{self.place}: the server's disk is full; nothing was written, and the log is as it was. "
                    "Free some space there"
                )
            case "25006":
                return Unwritable(
                    f"{self.place}: the database is read-only ({said}); nothing is in effect; "
                    "is it a replica? Name its primary"
                )
            case "42501":
                kind = Unreadable if reading else Unwritable
                return kind(f"{self.place}: the user may not do this ({said}); make it the owner of the database")
            case "55P03":
                return Unwritable(f"{self.place}: another process has held the log for {LOCK_MS // 1000} s ({said})")
            case "42P01" | "42703":
                return NotALog(f"{self.place}: its tables are not a log's ({said})")
            case _:
                pass
        hint = "; `moyai log verify --store …` says what is damaged" if self.damaged(error) else ""
        if reading:
            return Unreadable(f"{self.place}: the log can't be read ({said}){hint}")
        return Unwritable(f"{self.place}: the log can't be written ({said}); nothing is in effect{hint}")

    def alone(self, connection: Connection) -> None:
        """Until this transaction ends, no other process makes or changes tables. It may take long."""
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {ALONE_MS}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ALONE})")

    def grew(self, connection: Connection, seq: int) -> None:
        """Whoever follows is told when the transaction commits."""
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}, '{seq}'")

    def erasing(self, connection: Connection) -> None:
        """What is deleted leaves its file when the table is vacuumed; `erased` asks for that."""

    def erased(self) -> None:
        """Has the server rewrite the table of texts, so that its file holds no deleted one. Raises LogError.

        Its write-ahead log and its backups keep them until they are recycled.
        """
        try:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM (FULL) sealed")
        except DBAPIError as error:
            raise self.explain(error) from error

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()
        self.quick.dispose()

    def _settle_quick(self, connection: "psycopg.Connection[Any]", record: object) -> None:
        self._settle(connection, record)
        connection.execute("SET statement_timeout = 1000")
        connection.commit()

    def _settle(self, connection: "psycopg.Connection[Any]", _: object) -> None:
        connection.autocommit = True
        try:
            connection.execute(_SETTINGS.encode())
            if self.read_only:
                connection.execute("SET default_transaction_read_only = on")
        finally:
            connection.autocommit = False


def _arguments(url: URL) -> dict[str, str]:
    return {key: value for key, value in _DEFAULTS.items() if key not in url.query}


def _conninfo(url: URL) -> str:
    plain = url.set(drivername="postgresql").update_query_dict(_arguments(url))
    return plain.render_as_string(hide_password=False)


def _own(error: Exception) -> Exception:
    if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
        return error.orig
    return error


def _state(error: Exception) -> str:
    return getattr(_own(error), "sqlstate", None) or ""


_REFUSALS = (
    (
        ("password authentication failed", "no password supplied", "authentication failed"),
        "the server refuses user {user!r}: wrong or missing password; put it into ~/.pgpass (mode 0600) or a file "
        "named by passfile=FILE in the address",
    ),
    (
        ("no pg_hba.conf entry",),
        "the server takes no such connection; its pg_hba.conf must allow user {user!r} to {db!r}",
    ),
    (("role", "does not exist"), "the server knows no user {user!r}; make it by `createuser {user}`"),
    (("database", "does not exist"), "there is no database {db!r}; make it by `createdb {db}`"),
    (
        ("could not translate host name", "failed to resolve host", "Name or service not known"),
        "its host name can't be resolved; check the address",
    ),
    (
        ("certificate verify failed", "server does not support SSL", "SSL error"),
        "TLS to the server failed; check sslmode and sslrootcert",
    ),
    (
        ("invalid connection option", "invalid URI query parameter", "invalid sslmode value"),
        "the address holds an option that PostgreSQL does not know",
    ),
)


def _refusal(said: str) -> str:
    """What a person must mend before a connection can come up; "" where waiting may help."""
    for marks, words in _REFUSALS:
        whole = marks[-1] == "does not exist"
        if (all if whole else any)(mark in said for mark in marks):
            return words
    return ""
