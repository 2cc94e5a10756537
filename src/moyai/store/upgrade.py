"""The tables of a log: made where there are none, brought up to this code's revision where they are older."""

from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select

from moyai.model.envelope import GENESIS
from moyai.store import migrations
from moyai.store.errors import NotALog
from moyai.store.home import Home
from moyai.store.schema import FIRST_REVISION, FIRST_TABLES, FORMAT, LEADER, LOG, METADATA, ONLY_ROW, REVISION, VERSION

_NOBODY: dict[str, object] = {"holder": "", "place": "", "epoch": 0, "beat": 0, "expires_us": 0}


def check_tables(home: Home, create: bool) -> None:
    """Makes the tables of a new log where `create`, and changes older ones where the home may be written.

    Raises NotALog where the tables are others, or a newer Moyai's.
    """
    with home.engine.connect() as connection:
        found = set(inspect(connection).get_table_names())
        revision = _revision(home, connection, found) if found or not create else ""
    if revision == REVISION or (revision and home.read_only):
        return
    with home.writer.begin() as connection:
        home.alone(connection)
        found = set(inspect(connection).get_table_names())  # another process may have been as fast
        if not found:
            _make(connection)
        elif (revision := _revision(home, connection, found)) != REVISION:
            _upgrade(connection, revision, stamped=VERSION.name in found)


def _revision(home: Home, connection: Connection, found: set[str]) -> str:
    """The revision of the tables that were found. Raises NotALog."""
    if not found >= FIRST_TABLES:
        if home.shared and found:
            raise NotALog(f"{home.place}: holds tables, but no log of Moyai; give it a database of its own")
        raise NotALog(f"{home.place}: a database, but not a log of Moyai")
    if VERSION.name not in found:
        return FIRST_REVISION
    said = connection.execute(select(VERSION.c.version_num)).scalars().all()
    if len(said) != 1 or not isinstance(said[0], str):
        raise NotALog(f"{home.place}: the revision of its tables is damaged; restore it from a copy")
    if said[0] > REVISION:
        raise NotALog(
            f"{home.place}: a newer Moyai wrote this log (tables {said[0]}, this one knows {REVISION}); update Moyai"
        )
    return said[0]


def _make(connection: Connection) -> None:
    METADATA.create_all(connection, checkfirst=False)
    first: dict[str, object] = {"id": ONLY_ROW, "format": FORMAT, "epoch": 0, "head_seq": 0}
    connection.execute(insert(LOG), first | {"head_hash": bytes.fromhex(GENESIS)})
    connection.execute(insert(LEADER), {"id": ONLY_ROW} | _NOBODY)
    connection.execute(insert(VERSION), {"version_num": REVISION})


def _upgrade(connection: Connection, revision: str, *, stamped: bool) -> None:
    """By Alembic, which is imported only for this."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if not stamped:
        command.stamp(config, revision)
    command.upgrade(config, REVISION)
