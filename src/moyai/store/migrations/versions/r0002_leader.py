"""What control planes that share a log need: the leader's lease, the keys' marks, and the blobs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make them, with nobody as the leader."""
    leader = op.create_table(
        "leader",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("place", sa.String(255), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(leader, [{"id": 1, "holder": "", "place": "", "epoch": 0, "beat": 0, "expires_us": 0}])
    op.create_table(
        "key_check",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("value", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "blob",
        sa.Column("blob", sa.String(64), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("touched_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "blob_piece",
        sa.Column("blob", sa.String(64), primary_key=True),
        sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
