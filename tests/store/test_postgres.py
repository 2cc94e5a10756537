"""What is special to PostgreSQL: every error is one of ours, with what to do."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moyai.store.errors import Away, LogFull, NotALog, Unreadable, Unwritable
from moyai.store.export import verify
from moyai.store.home import place_of
from moyai.store.log import Log
from store.pg import Postgres


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Away, match=r"postgresql://moyai:\*\*\*@127.0.0.1:1/x: the database can't be reached") as caught:
        Log.open("postgresql://moyai:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "database", "query", "said"),
    [
        ("moyai", "nowhere", "", "there is no database 'nowhere'; make it by `createdb nowhere`"),
        ("nobody", "postgres", "", "the server knows no user 'nobody'; make it by `createuser nobody`"),
        ("moyai", "postgres", "?sslmode=require", "TLS to the server failed"),
        ("moyai", "postgres", "?colour=red", "the address holds an option that PostgreSQL does not know"),
    ],
)
def test_an_address_that_is_wrong(pg: Postgres, user: str, database: str, query: str, said: str) -> None:
    with pytest.raises(Unreadable) as caught:
        Log.open(f"postgresql://{user}@127.0.0.1:{pg.port}/{database}{query}")
    assert said in str(caught.value)


def test_a_wrong_password(pg: Postgres) -> None:
    pg.execute("CREATE USER guarded PASSWORD 'right'")
    hba = pg.root / "data" / "pg_hba.conf"
    before = hba.read_text()
    try:
        hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + before)
        pg.execute("SELECT pg_reload_conf()")
        for password in ("", ":wrong"):
            with pytest.raises(Unreadable, match=r"wrong or missing password; put it into ~/\.pgpass") as caught:
                Log.open(f"postgresql://guarded{password}@127.0.0.1:{pg.port}/postgres")
            assert ":wrong" not in str(caught.value)
    finally:
        hba.write_text(before)
        pg.execute("SELECT pg_reload_conf()")


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(Unreadable, match="its host name can't be resolved"):
        Log.open("postgresql://moyai@nowhere.invalid/x")


def test_a_database_of_others(pg: Postgres) -> None:
    name = pg.database()
    pg.execute("CREATE TABLE photos (id int)", name)
    with pytest.raises(NotALog, match="holds tables, but no log of Moyai; give it a database of its own"):
        Log.open(pg.url(name))
    with pytest.raises(NotALog, match="a database, but not a log"):
        Log.open(pg.url(pg.database()), create=False)


def test_a_read_only_database(pg: Postgres, chain) -> None:
    name = pg.database()
    with Log.open(pg.url(name)) as log:
        log.take_over()
    pg.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with Log.open(pg.url(name)) as log, pytest.raises(Unwritable, match=r"read-only .*is it a replica"):
        log.append(1, chain(1))


def test_a_user_who_may_only_look(pg: Postgres, chain) -> None:
    name = pg.database()
    with Log.open(pg.url(name)) as log:
        log.take_over()
        log.append(1, chain(3))
    pg.execute("CREATE USER looker")
    pg.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker", name)
    with Log.open(pg.url(name).replace("moyai@", "looker@"), read_only=True) as log:
        assert verify(log).events == 3
    writer = Log.open(pg.url(name).replace("moyai@", "looker@"))
    with writer as log, pytest.raises(Unwritable, match="make it the owner"):
        log.append(1, chain(1, log.head))


def test_a_lock_that_another_process_keeps(pg: Postgres, chain) -> None:
    url = pg.url(pg.database())
    with Log.open(url) as log, Log.open(url) as other:
        log.take_over()
        with log.home.engine.connect() as connection:
            connection.exec_driver_sql("SET lock_timeout = 50")
            connection.commit()
        with other.home.engine.connect() as holder:
            holder.exec_driver_sql("UPDATE log SET epoch = epoch")
            with pytest.raises(Unwritable, match="another process has held the log"):
                log.append(1, chain(1))
        log.append(1, chain(1))


@pytest.fixture
def tiny(pg: Postgres) -> Iterator[str]:
    """The address of a database on a disk of a few MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = Path(tempfile.mkdtemp(dir="/tmp", prefix="moyai-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=777", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        place.rmdir()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        (place / "space").mkdir()
        subprocess.run(["chown", "postgres", str(place / "space")], check=True)
        pg.execute(f"CREATE TABLESPACE tiny LOCATION '{place / 'space'}'")
        pg.execute("CREATE DATABASE ontiny TABLESPACE tiny")
        yield pg.url("ontiny")
        pg.execute("DROP DATABASE ontiny WITH (FORCE)")
        pg.execute("DROP TABLESPACE tiny")
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def test_a_full_disk(tiny: str, chain) -> None:
    with Log.open(tiny) as log:
        log.take_over()
        kept = 0
        with pytest.raises(LogFull, match=r"the server's disk is full; nothing was written"):
            for _ in range(2000):
                log.append(1, chain(50, log.head, pad=2000))
                kept += 50
        assert kept > 0
        assert log.head.seq == kept
        assert verify(log).events == kept


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("postgres://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg://u@h:5/d?sslmode=require", "postgresql+psycopg://u@h:5/d?sslmode=require"),
    ],
)
def test_how_a_database_is_written(said: str, wanted: str) -> None:
    assert str(place_of(said)) == wanted


def test_how_a_file_is_written(tmp_path: Path) -> None:
    assert place_of(str(tmp_path)) == tmp_path / "log.db"
    assert place_of(f"sqlite:///{tmp_path}/x.db") == tmp_path / "x.db"
    for wrong in ("mysql://h/d", "sqlite://", "http://h"):
        with pytest.raises(NotALog, match="no such store"):
            place_of(wrong)
