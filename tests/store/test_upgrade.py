"""The tables: made, brought up from the first release's, refused where they are newer."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from moyai.store import migrations
from moyai.store.errors import LogError, NotALog
from moyai.store.export import verify
from moyai.store.log import Log
from moyai.store.schema import FIRST_TABLES, METADATA, REVISION

_LATER = [t.name for t in METADATA.sorted_tables if t.name not in FIRST_TABLES]


def as_the_first_release_left_it(log: Log) -> None:
    """Take away all that later revisions added."""
    with log.home.writer.begin() as connection:
        for table in _LATER:
            connection.exec_driver_sql(f"DROP TABLE {table}")


def tables(log: Log) -> set[str]:
    """What is there."""
    from sqlalchemy import inspect

    with log.home.engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def differences(log: Log) -> list:
    """What Alembic sees between the tables and the code's."""
    with log.home.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _ours})
        return compare_metadata(context, METADATA)


def _ours(item: object, name: str | None, kind: str, *_: object) -> bool:
    return not (kind == "table" and name == "alembic_version")


def test_a_log_of_the_first_release_is_read_and_brought_up(place: Path | str, log: Log, chain) -> None:
    log.append(1, chain(20))
    as_the_first_release_left_it(log)
    log.close()
    with Log.open(place, read_only=True) as reader:
        assert verify(reader).events == 20
        assert tables(reader) == FIRST_TABLES
    with Log.open(place) as again:
        assert verify(again).events == 20
        assert tables(again) == set(METADATA.tables)
        assert differences(again) == []
        assert again.take_over() == 2
    with Log.open(place, create=False) as once_more:
        assert verify(once_more).events == 20


def test_new_tables_are_those_of_all_revisions(log: Log) -> None:
    assert differences(log) == []


def test_the_code_knows_the_newest_revision() -> None:
    assert migrations.__file__ is not None
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == REVISION


@pytest.mark.parametrize("change", ["'9999'", "'0002x'"])
def test_a_newer_revision_is_refused(place: Path | str, log: Log, change: str) -> None:
    with log.home.writer.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = {change}")
    for read_only in (False, True):
        with pytest.raises(NotALog, match=r"a newer Moyai wrote this log \(tables .*; update Moyai"):
            Log.open(place, read_only=read_only)


def test_a_lost_revision_is_told(place: Path | str, log: Log) -> None:
    with log.home.writer.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
    with pytest.raises(NotALog, match="revision of its tables is damaged"):
        Log.open(place)


def test_many_first_openers_make_one_log(place: Path | str) -> None:
    failures: list[LogError] = []

    def open_it() -> None:
        try:
            Log.open(place).close()
        except LogError as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Log.open(place, create=False) as log:
        assert tables(log) == set(METADATA.tables)
        assert log.take_over() == 1


def test_an_upgrade_that_breaks_off_leaves_the_old_tables(path: Path, log: Log, chain, monkeypatch) -> None:
    log.append(1, chain(3))
    as_the_first_release_left_it(log)
    log.close()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TABLE blob_piece (x)")  # in the way of the second revision
    with pytest.raises(LogError):
        Log.open(path)
    with closing(sqlite3.connect(path)) as raw, raw:
        found = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        raw.execute("DROP TABLE blob_piece")
    assert found == FIRST_TABLES | {"blob_piece"}
    with Log.open(path) as again:
        assert verify(again).events == 3
