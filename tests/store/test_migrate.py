"""Moving a log: there and back again, byte for byte, all or nothing."""

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from blake3 import blake3

from moyai.model.envelope import CorruptRecord
from moyai.model.ids import TenantName, TextRef
from moyai.store.blobs import StoredBlobs
from moyai.store.checkpoint import make_checkpoint
from moyai.store.errors import LogError, NotALog, Unwritable
from moyai.store.export import verify
from moyai.store.home import Place, place_of
from moyai.store.keychecks import KeyChecks
from moyai.store.leader import Seat
from moyai.store.log import Log, Sealed
from moyai.store.migrate import migrate
from moyai.store.running import standing
from store.pg import Postgres
from store.test_upgrade import as_the_first_release_left_it

BLOB = bytes(range(256)) * 9_000  # more than two pieces
NAME = blake3(BLOB).hexdigest()


@pytest.fixture
def source(tmp_path: Path, chain) -> Path:
    """A log with everything, in a directory as a server leaves it."""
    home = tmp_path / "old"
    (home / "blobs").mkdir(parents=True)
    (home / "blobs" / NAME).write_bytes(BLOB)
    (home / "blobs" / f"{NAME}.12.part").write_bytes(b"half")
    with Log.open(home / "log.db") as log:
        assert log.take_over() == 1
        records = chain(2500, pad=30)
        texts = [Sealed(TextRef(f"{i:064x}"), TenantName(f"lab{i % 3}"), os.urandom(90)) for i in range(1500)]
        log.append(1, records[:1000], texts)
        log.append(1, records[1000:])
        for seq in (1000, 2500):
            log.save_checkpoint(make_checkpoint(seq, records[seq - 1].hash, "v", b"state" * seq, lambda m: m[:64]))
        KeyChecks(log.session).keep("signing", bytes(32))
    return home / "log.db"


def everything(place: Place) -> dict[str, list]:
    """What a log holds, as plain values."""
    with Log.open(place, create=False, read_only=True) as log:
        texts = [log.sealed(TextRef(f"{i:064x}")) for i in range(1500)]
        return {
            "events": [r.data for r in log.read()],
            "texts": texts,
            "checkpoints": list(log.checkpoints()),
            "epoch": [log.epoch],
            "marks": sorted(KeyChecks(log.session).all().items()),
        }


def test_there_and_back_again(source: Path, pg: Postgres, tmp_path: Path) -> None:
    there, back = place_of(pg.url(pg.database())), tmp_path / "new" / "log.db"
    told: list[tuple[int, int]] = []
    done = migrate(source, there, lambda n, of: told.append((n, of)))
    assert (done.events, done.epoch, done.texts, done.checkpoints, done.blobs) == (2500, 1, 1500, 2, 1)
    assert told[-1] == (2500, 2500)
    assert everything(there) == everything(source)
    with Log.open(there) as log:
        assert b"".join(StoredBlobs(log.session).get(NAME) or ()) == BLOB
    migrate(there, back)
    assert everything(back) == everything(source)
    assert (tmp_path / "new" / "blobs" / NAME).read_bytes() == BLOB
    assert [p.name for p in (tmp_path / "new" / "blobs").iterdir()] == [NAME]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    with Log.open(back) as log:
        assert log.take_over() == 2


def test_a_log_of_the_first_release_is_moved(source: Path, pg: Postgres) -> None:
    with Log.open(source) as log:
        as_the_first_release_left_it(log)
    there = place_of(pg.url(pg.database()))
    assert migrate(source, there).events == 2500
    assert everything(there)["events"] == everything_of_events(source)


def everything_of_events(place: Place) -> list[bytes]:
    """The events alone."""
    with Log.open(place, read_only=True) as log:
        return [r.data for r in log.read()]


def test_a_target_that_holds_a_log_is_left_alone(source: Path, pg: Postgres, chain) -> None:
    url = pg.url(pg.database())
    with Log.open(url) as log:
        log.take_over()
        log.append(1, chain(3))
    with pytest.raises(Unwritable, match=r"there is a log in it already \(3 events\)"):
        migrate(source, place_of(url))
    with Log.open(url) as log:
        assert verify(log).events == 3


def test_damage_is_told_and_nothing_is_copied(source: Path, pg: Postgres) -> None:
    with closing(sqlite3.connect(source)) as raw, raw:
        raw.execute("UPDATE event SET data = x'00' WHERE seq = 1700")
    there = place_of(pg.url(pg.database()))
    with pytest.raises(CorruptRecord, match="event 1700"):
        migrate(source, there)
    with Log.open(there) as log:
        assert (log.head.seq, log.epoch, list(log.read())) == (0, 0, [])


def test_a_running_server_is_not_pulled_from_under(source: Path, pg: Postgres, tmp_path: Path) -> None:
    there = place_of(pg.url(pg.database()))
    lock = os.open(source.parent / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, b"4711\n")
        assert "process 4711" in standing(source).leader
        with pytest.raises(Unwritable, match=r"a control plane is at work on this log; end it first"):
            migrate(source, there)
    finally:
        os.close(lock)
    migrate(source, there)
    with Log.open(there) as log:
        Seat(log, "me", "host:/a (process 1)", 60_000_000).take()
    assert standing(there).leader == "host:/a (process 1)"
    with pytest.raises(Unwritable, match=r"a control plane leads this log \(host:/a"):
        migrate(there, tmp_path / "back" / "log.db")


def test_nothing_is_made_where_there_is_no_source(pg: Postgres, tmp_path: Path) -> None:
    name = pg.database()
    with pytest.raises(NotALog, match="no log there"):
        migrate(tmp_path / "none" / "log.db", place_of(pg.url(name)))
    assert pg.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == [(0,)]


def test_a_connection_that_breaks_in_the_middle_of_a_move(source: Path, pg: Postgres, monkeypatch) -> None:
    name = pg.database()
    there = place_of(pg.url(name))
    killed: list[int] = []

    def told(done: int, of: int) -> None:
        if done > 2000 and not killed:
            rows = pg.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            killed.append(len(rows))

    assert migrate(source, there, told).events == 2500
    assert killed
    assert everything(there) == everything(source)


def test_how_a_log_stands(source: Path, pg: Postgres) -> None:
    found = standing(source)
    assert (found.head.seq, found.epoch, found.leader, found.revision, found.warnings) == (2500, 1, "", "0002", ())
    assert found.database.startswith("SQLite 3")
    there = place_of(pg.url(pg.database()))
    migrate(source, there)
    found = standing(there)
    assert found.database.startswith("PostgreSQL ")
    assert "moyai@" in found.place
    with pytest.raises(LogError):
        standing(place_of(pg.url(pg.database())))
