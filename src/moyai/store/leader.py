"""Who leads a log that several control planes share: one row, held by a lease, and the log's own epoch.

Three things keep two leaders apart, and none of them trusts the database's clock:

- The epoch. A take-over raises it in the transaction that takes the row; an append of an older one is refused.
- The holder counts its lease from *sending* a renewal, on its own CLOCK_BOOTTIME, less a margin for drift.
- A new leader waits for the sites one leader's lease longer: until then the old one may still renew theirs.

The database's clock only says when a standby may try. A standby that saw the same beat for longer than a lease, on its
own clock, tries too, so a clock that was set back keeps nobody waiting.
"""

from dataclasses import dataclass

import psycopg
from sqlalchemy import BigInteger, Connection, bindparam, cast, extract, func, or_, select, update
from sqlalchemy.exc import DBAPIError

from moyai.store.errors import Led
from moyai.store.log import Log
from moyai.store.postgres import CHANNEL, PostgresHome
from moyai.store.schema import LEADER, ONLY_ROW

LEASE_US = 3_000_000
"""How long a leader leads without renewing."""
DRIFT_PPM = 1_000
"""How far a clock may run fast or slow."""

_ROW = LEADER.c.id == ONLY_ROW
_NOW_US = cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
_MINE = LEADER.c.holder == bindparam("me")
_LOOK = select(
    LEADER.c.holder, LEADER.c.place, LEADER.c.epoch, LEADER.c.beat, (LEADER.c.expires_us - _NOW_US).label("left_us")
).where(_ROW)
_EXPIRES = _NOW_US + bindparam("lease_us", type_=BigInteger)
_TAKE = (
    update(LEADER)
    .where(_ROW, or_(_MINE, LEADER.c.holder == "", LEADER.c.expires_us < _NOW_US, LEADER.c.beat == bindparam("stale")))
    .values(
        holder=bindparam("me"),
        place=bindparam("at"),
        epoch=bindparam("to_epoch"),
        beat=LEADER.c.beat + 1,
        expires_us=_EXPIRES,
    )
)
_RENEW = update(LEADER).where(_ROW, _MINE).values(beat=LEADER.c.beat + 1, expires_us=_EXPIRES)
_RESIGN = update(LEADER).where(_ROW, _MINE).values(holder="", place="", beat=LEADER.c.beat + 1, expires_us=0)


def trusted_us(lease_us: int) -> int:
    """How long after sending a renewal its holder may rely on it: both clocks may drift, and one drift is to spare."""
    return lease_us - -(-lease_us * 3 * DRIFT_PPM // 1_000_000)


@dataclass(frozen=True, slots=True)
class Leader:
    """The row as it is."""

    holder: str  # "" where nobody leads
    where: str
    epoch: int
    beat: int
    left_us: int  # by the database's clock; not above 0 where the lease is over

    @property
    def leads(self) -> bool:
        """Whether somebody leads, as far as the database's clock can say."""
        return bool(self.holder) and self.left_us > 0


def leader_of(log: Log) -> Leader:
    """Who leads a shared log now. Raises LogError."""
    row = log.session.read(lambda connection: connection.execute(_LOOK).one())
    return Leader(row.holder, row.place, row.epoch, row.beat, row.left_us)


class Seat:
    """The leader's place at a shared log, as one process sees it. `me` names the process, `where` it for people."""

    def __init__(self, log: Log, me: str, where: str, lease_us: int = LEASE_US) -> None:
        assert isinstance(log.home, PostgresHome), "only a log that can be shared has a leader"
        self.lease_us = lease_us
        self._home = log.home
        self._log = log
        self._me = me
        self._where = where[:255]

    def look(self) -> Leader:
        """Who leads now. Raises LogError."""
        return leader_of(self._log)

    def mine(self) -> bool:
        """Whether the place is this process's. Raises LogError."""
        return self.look().holder == self._me

    def take(self, stale_beat: int | None = None) -> int:
        """Becomes the leader, and the log's epoch grows by one; the new epoch.

        `stale_beat` is a beat that did not change for longer than a lease by the caller's own clock. Raises Led where
        another one leads, LogError.
        """

        def claim(connection: Connection, epoch: int) -> None:
            wanted = {
                "me": self._me,
                "at": self._where,
                "to_epoch": epoch,
                "lease_us": self.lease_us,
                "stale": -1 if stale_beat is None else stale_beat,
            }
            if connection.execute(_TAKE, wanted).rowcount != 1:
                row = connection.execute(_LOOK).one()
                raise Led(self._log.place, row.place, row.left_us)
            connection.exec_driver_sql(f"NOTIFY {CHANNEL}, 'led'")

        return self._log.take_over(claim)

    def renew(self) -> bool:
        """Holds the place for another lease; False where it is another's by now. Raises LogError.

        It is tried once: the caller counts from sending, so a new try is a new sending. Call it in a thread of its own.
        """
        try:
            with self._home.quick.begin() as connection:
                return connection.execute(_RENEW, {"me": self._me, "lease_us": self.lease_us}).rowcount == 1
        except DBAPIError as error:
            raise self._home.explain(error) from error

    def resign(self) -> None:
        """Gives the place up and wakes who waits for it. Raises LogError."""

        def give(connection: Connection) -> None:
            if connection.execute(_RESIGN, {"me": self._me}).rowcount == 1:
                connection.exec_driver_sql(f"NOTIFY {CHANNEL}, 'free'")

        self._log.session.write(give)

    def listen(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection that is told when the log grows or its leader changes. Raises LogError."""
        return self._home.listen()

    def heard(self, bell: psycopg.Connection[tuple[object, ...]], within_s: float) -> bool:
        """Wait until something is told on a connection of `listen`; False where nothing was. Raises LogError."""
        try:
            return any(True for _ in bell.notifies(timeout=within_s, stop_after=1))
        except psycopg.Error as error:
            raise self._home.explain(error, reading=True) from error
