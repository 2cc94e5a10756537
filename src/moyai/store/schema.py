"""The tables of a log, the same on SQLite and PostgreSQL.

Hashes are stored as their 32 bytes. The one row of `log` is the head of the chain and the control epoch: an append
moves it in the transaction that writes the events, so it says what must be there.
"""

from sqlalchemy import BigInteger, Column, Dialect, Index, Integer, LargeBinary, MetaData, String, Table

FORMAT = 1
"""The format of the tables. A newer one is refused."""

ONLY_ROW = 1
"""The id of the one row of `log`."""

METADATA = MetaData()


class Bytes(LargeBinary):
    """Bytes just as the driver gives them: damage may make them a number, of which a conversion would make zeros."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """None: nothing is converted."""


# SQLite stores a table in the order of a key only where its type is exactly INTEGER.
_SEQ = BigInteger().with_variant(Integer(), "sqlite")

LOG = Table(
    "log",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("format", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("head_hash", Bytes(32), nullable=False),
)

EVENT = Table(
    "event",
    METADATA,
    Column("seq", _SEQ, primary_key=True, autoincrement=False),
    Column("hash", Bytes(32), nullable=False),
    Column("data", Bytes, nullable=False),
)

SEALED = Table(
    "sealed",
    METADATA,
    Column("ref", String(128), primary_key=True),
    Column("tenant", String(255), nullable=False),
    Column("data", Bytes, nullable=False),
    Index("sealed_tenant", "tenant"),
)

CHECKPOINT = Table(
    "checkpoint",
    METADATA,
    Column("seq", _SEQ, primary_key=True, autoincrement=False),
    Column("head_hash", Bytes(32), nullable=False),
    Column("state_hash", Bytes(32), nullable=False),
    Column("code_version", String(255), nullable=False),
    Column("state", Bytes, nullable=False),
    Column("signature", Bytes(64), nullable=False),
)
