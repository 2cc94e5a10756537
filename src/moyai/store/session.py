"""Work on a home: in one transaction, with its errors explained, and again on a new connection where one was torn."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from moyai.store.home import Home

T = TypeVar("T")


class Session:
    """The transactions of one home. Safe to use from several threads."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, in a transaction that is durable on return. Raises LogError, and what `work` raises.

        Where the connection was torn, nobody knows whether the transaction is in effect. `work` is done again then, so
        it must know itself again.
        """
        home = self.home
        pauses = iter(home.again_s)
        while True:
            home.check_there()
            try:
                with home.writer.begin() as connection:
                    done = work(connection)
            except DBAPIError as error:
                pause = next(pauses, None) if home.torn(error) else None
                if pause is None:
                    raise home.explain(error) from error
                time.sleep(pause)
                continue
            home.check_there()
            return done

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` reads. Raises LogError."""
        try:
            return self.read_raw(work)
        except DBAPIError as error:
            raise self.home.explain(error, reading=True) from error

    def read_raw(self, work: Callable[[Connection], T]) -> T:
        """What `work` reads. Raises DBAPIError, so that the caller can look for damage first."""
        pauses = iter(self.home.again_s)
        while True:
            try:
                with self.home.engine.connect() as connection:
                    return work(connection)
            except DBAPIError as error:
                pause = next(pauses, None) if self.home.torn(error) else None
                if pause is None:
                    raise
                time.sleep(pause)
