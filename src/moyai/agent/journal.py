"""The agent's journal on disk: keys and values in SQLite, durable when `commit` returns. One thread uses it."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from moyai.agent.core.effects import Write


class JournalTrouble(Exception):
    """The journal can't be read or written; the message says why and what to do."""


class Journal:
    """A map from keys to bytes."""

    def __init__(self, path: Path) -> None:
        """Open it, made where it isn't there. Raises JournalTrouble."""
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            raise JournalTrouble(
                f"{path} can't be opened: {error}; is the disk full, or the file no journal?"
            ) from None

    def entries(self) -> dict[str, bytes]:
        """Everything in it. Raises JournalTrouble."""
        try:
            return dict(self._db.execute("SELECT key, value FROM entry"))
        except sqlite3.Error as error:
            raise JournalTrouble(f"{self.path} can't be read: {error}") from None

    def commit(self, writes: Iterable[Write]) -> None:
        """All of `writes`, in order, in one transaction: durable, or none of them. Raises JournalTrouble."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for write in writes:
                    if write.value is None:
                        self._db.execute("DELETE FROM entry WHERE key = ?", (write.key,))
                    else:
                        self._db.execute("REPLACE INTO entry (key, value) VALUES (?, ?)", (write.key, write.value))
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise JournalTrouble(f"{self.path} can't be written: {error}") from None

    def close(self) -> None:
        """Close it."""
        self._db.close()
