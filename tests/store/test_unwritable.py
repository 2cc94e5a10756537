"""A full disk, a read-only disk, a vanished directory: a clear message, and a log that is as it was."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moyai.store.errors import LogError, LogFull, Unreadable, Unwritable
from moyai.store.export import verify
from moyai.store.log import Log

ROOT = os.geteuid() == 0


def test_a_full_database_leaves_the_log_as_it_was(path: Path, log: Log, chain) -> None:
    log.append(1, chain(10))
    _limit(log, 40)
    kept = 10
    with pytest.raises(LogFull, match=r"disk is full.*as it was"):
        for _ in range(100):
            log.append(1, chain(10, log.head, pad=200))
            kept += 10
    assert log.head.seq == kept
    assert verify(log).events == kept
    refused = chain(10, log.head, pad=200)
    with pytest.raises(LogFull):
        log.append(1, refused)
    _limit(log, 10_000)
    log.append(1, refused)  # the same append, once there is room
    assert verify(log).events == kept + 10


def test_a_full_disk(tiny: Path, chain) -> None:
    with Log.open(tiny / "log.db") as log:
        log.take_over()
        kept = 0
        with pytest.raises(LogFull):
            for _ in range(2000):
                log.append(1, chain(20, log.head, pad=500))
                kept += 20
        assert kept > 0
        assert log.head.seq == kept
        assert verify(log).events == kept
    with Log.open(tiny / "log.db", read_only=True) as reader:
        assert verify(reader).events == kept


def test_a_new_log_on_a_full_disk(tiny: Path) -> None:
    with (tiny / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
        while True:
            ballast.write(bytes(4096))
    with pytest.raises(LogFull, match="disk is full"):
        Log.open(tiny / "log.db")


def test_a_read_only_disk(tiny: Path, chain) -> None:
    with Log.open(tiny / "log.db") as log:
        log.take_over()
        log.append(1, chain(10))
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    with pytest.raises(Unwritable, match="can't be written"):
        Log.open(tiny / "log.db")
    with pytest.raises(Unwritable):
        Log.open(tiny / "new.db")
    with Log.open(tiny / "log.db", read_only=True) as reader:
        assert verify(reader).events == 10


def test_a_vanished_directory(tmp_path: Path, chain) -> None:
    directory = tmp_path / "moyai"
    directory.mkdir()
    with Log.open(directory / "log.db") as log:
        log.take_over()
        log.append(1, chain(10))
        head = log.head
        shutil.rmtree(directory)
        with pytest.raises(Unwritable, match=r"log\.db: the log's file is gone"):
            log.append(1, chain(10, log.head))
        with pytest.raises(Unwritable):
            log.take_over()
        assert log.head == head


def test_a_file_in_the_place_of_the_log(path: Path, log: Log, chain) -> None:
    log.append(1, chain(10))
    path.rename(path.with_name("moved.db"))
    path.write_bytes(b"")
    with pytest.raises(Unwritable, match="another file was put in the place"):
        log.append(1, chain(10, log.head))


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unwritable, match="no such directory; make it first"):
        Log.open(tmp_path / "nowhere" / "log.db")


def test_a_lock_that_another_process_keeps(path: Path, log: Log, chain) -> None:
    with log._home.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=20")
    other = sqlite3.connect(log.place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unwritable, match="another process has held the log"):
        log.append(1, chain(3))
    other.execute("ROLLBACK")
    other.close()
    log.append(1, chain(3))


@pytest.mark.parametrize(
    ("mode", "read_only", "expected"),
    [(0o400, False, Unwritable), (0o000, False, Unwritable), (0o000, True, Unreadable)],
)
def test_permissions(mode: int, read_only: bool, expected: type[LogError]) -> None:
    code = """
import os, sys
from pathlib import Path
from moyai.store.log import Log
import moyai.store.errors as errors
if os.geteuid() == 0:
    os.setegid(65534); os.seteuid(65534)
path = Path(sys.argv[1]) / "log.db"
with Log.open(path) as log:
    log.take_over()
path.chmod(int(sys.argv[2]))
try:
    Log.open(path, read_only=sys.argv[3] == "True")
except errors.LogError as error:
    print(type(error).__name__, error)
"""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="moyai-") as place:
        os.chmod(place, 0o777)
        command = [sys.executable, "-c", code, place, str(mode), str(read_only)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert done.stdout.startswith(expected.__name__), done.stdout
    assert "ermission" in done.stdout


@pytest.fixture
def tiny() -> Iterator[Path]:
    """A disk of one MiB."""
    if not ROOT:
        pytest.skip("mounting a small file system needs root")
    place = Path(tempfile.mkdtemp(dir="/tmp", prefix="moyai-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        place.rmdir()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def _limit(log: Log, pages: int) -> None:
    # There is one connection in the pool, so the next append gets this one.
    with log._home.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
