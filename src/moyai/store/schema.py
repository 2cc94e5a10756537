"""The tables of a log, the same on SQLite and PostgreSQL.

Hashes are stored as their 32 bytes. The one row of `log` is the head of the chain and the control epoch: an append
moves it in the transaction that writes the events, so it says what must be there. A change of the tables needs a
revision below `migrations/`.
"""

from sqlalchemy import BigInteger, Column, Dialect, Index, Integer, LargeBinary, MetaData, String, Table

FORMAT = 1
"""The format of what the tables hold. A newer one is refused."""

REVISION = "0002"
"""The revision of the tables below. An older one is brought up to it; a newer one is refused."""

FIRST_REVISION = "0001"
"""The revision of tables that say none: the first release made them."""

ONLY_ROW = 1
"""The id of the one row of `log` and of `leader`."""

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

FIRST_TABLES = frozenset({"log", "event", "sealed", "checkpoint"})
"""What a database has that is a log of any revision."""

LEADER = Table(
    "leader",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(64), nullable=False),  # the process; "" where nobody leads
    Column("place", String(255), nullable=False),  # where it runs, for people
    Column("epoch", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),  # grows with each renewal
    Column("expires_us", BigInteger, nullable=False),  # by the database's clock, since 1970
)
"""Who leads a log that several control planes share."""

KEY_CHECK = Table(
    "key_check",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("value", Bytes(32), nullable=False),
)
"""What tells whether a control plane has the keys of this log. No key can be had from it."""

BLOB = Table(
    "blob",
    METADATA,
    Column("blob", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("touched_us", BigInteger, nullable=False),
)

BLOB_PIECE = Table(
    "blob_piece",
    METADATA,
    Column("blob", String(64), primary_key=True),
    Column("piece", Integer, primary_key=True, autoincrement=False),
    Column("data", Bytes, nullable=False),
)

VERSION = Table("alembic_version", METADATA, Column("version_num", String(32), primary_key=True))
"""Alembic's own table: the revision that the tables have."""
