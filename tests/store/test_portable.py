"""The tables and statements hold no trick of one database: they compile for PostgreSQL as for SQLite."""

import inspect

import pytest
from sqlalchemy import Dialect, Executable
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.elements import ClauseElement

from moyai.store import log, schema

DIALECTS = [postgresql.dialect(), sqlite.dialect()]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_tables(dialect: Dialect) -> None:
    for table in schema.METADATA.sorted_tables:
        assert "NOT NULL" in str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))


def test_types() -> None:
    on_postgresql = str(CreateTable(schema.EVENT).compile(dialect=DIALECTS[0]))
    assert "seq BIGINT" in on_postgresql
    assert "data BYTEA" in on_postgresql
    # SQLite keeps the rows themselves in the order of seq only with this very type.
    assert "seq INTEGER" in str(CreateTable(schema.EVENT).compile(dialect=DIALECTS[1]))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_statements(dialect: Dialect) -> None:
    statements = [
        value for value in vars(log).values() if isinstance(value, Executable) and isinstance(value, ClauseElement)
    ]
    assert len(statements) >= 6
    for statement in statements:
        assert str(statement.compile(dialect=dialect))


def test_nothing_special_in_the_flow() -> None:
    for module in (log, schema):
        source = inspect.getsource(module)
        assert "exec_driver_sql" not in source
        assert "PRAGMA" not in source
