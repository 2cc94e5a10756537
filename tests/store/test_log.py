"""Appending and reading: what was acknowledged is there, byte for byte, and a stale writer is turned away."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moyai.model.envelope import GENESIS
from moyai.model.ids import TenantName, TextRef
from moyai.store.chain import Head
from moyai.store.errors import NotALog, OutOfStep, StaleEpoch, Unwritable
from moyai.store.export import verify
from moyai.store.log import Log, Sealed


def test_a_new_log_is_empty(place: Path | str) -> None:
    with Log.open(place) as log:
        assert log.head == Head(0, GENESIS)
        assert log.epoch == 0
        assert list(log.read()) == []


def test_what_is_appended_is_read_again_after_a_restart(place: Path | str, log: Log, chain) -> None:
    records = chain(3000)  # more than one query's worth
    log.append(1, records[:1])
    log.append(1, records[1:2500])
    log.append(1, records[2500:])
    log.close()
    with Log.open(place, create=False) as again:
        assert again.head == Head(3000, records[-1].hash)
        assert list(again.read()) == records
        assert [r.data for r in again.read()] == [r.data for r in records]


@pytest.mark.parametrize(
    ("after", "until", "expected"), [(0, 3, (1, 3)), (4, 6, (5, 6)), (8, None, (9, 10)), (2, 99, (3, 10))]
)
def test_a_part_is_read(log: Log, chain, after: int, until: int | None, expected: tuple[int, int]) -> None:
    records = chain(10)
    log.append(1, records)
    assert list(log.read(after, until)) == records[expected[0] - 1 : expected[1]]
    prev_hash = records[after - 1].hash if after else GENESIS
    assert list(log.read(after, until, prev_hash)) == records[expected[0] - 1 : expected[1]]


def test_reading_from_the_head_gives_nothing_and_from_past_it_is_refused(log: Log, chain) -> None:
    log.append(1, chain(10))
    assert list(log.read(10)) == []
    with pytest.raises(ValueError, match="no event 11; the log ends at event 10"):
        list(log.read(11))


def test_an_append_must_follow_the_head(log: Log, chain) -> None:
    records = chain(5)
    log.append(1, records[:2])
    for wrong in ([], records[3:], records[1:], [records[2], records[4]], chain(5, pad=1)[2:]):
        with pytest.raises(OutOfStep):
            log.append(1, wrong)
    with pytest.raises(OutOfStep, match="epoch"):
        log.append(1, chain(1, log.head, epoch=2))
    log.append(1, records[2:])
    assert list(log.read()) == records


def test_a_writer_of_an_older_epoch_is_turned_away(place: Path | str, log: Log, chain) -> None:
    records = chain(3)
    log.append(1, records[:1])
    with Log.open(place) as second:
        assert second.take_over() == 2
        assert second.head == Head(1, records[0].hash)
        with pytest.raises(StaleEpoch) as caught:
            log.append(1, records[1:], [Sealed(TextRef("r"), TenantName("t"), b"secret")])
        assert (caught.value.epoch, caught.value.stored) == (1, 2)
        assert log.head.seq == 1
        assert log.sealed(TextRef("r")) is None
        second.append(2, chain(1, second.head, epoch=2))
        with pytest.raises(StaleEpoch):
            log.append(1, records[1:])
        assert verify(second).events == 2


def test_another_process_takes_over(place: Path | str, log: Log, chain) -> None:
    code = "import sys; from pathlib import Path; from moyai.store.log import Log; print(Log.open(sys.argv[1]).take_over())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(place)], capture_output=True, text=True, env=_env(), check=True
    )
    assert done.stdout == "2\n"
    with pytest.raises(StaleEpoch, match="another one took over"):
        log.append(1, chain(1))


def test_taking_over_sees_what_was_appended_since_the_open(place: Path | str, log: Log, chain) -> None:
    with Log.open(place) as second:
        log.append(1, chain(4))
        assert second.take_over() == 2
        assert second.head == log.head


def test_an_append_whose_answer_was_lost_may_be_tried_again(place: Path | str, log: Log, chain) -> None:
    records = chain(4)
    log.append(1, records[:2])
    with Log.open(place) as same:  # stands for the transaction that was durable after all
        same.append(1, records[2:])
    log.append(1, records[2:])
    assert log.head == Head(4, records[-1].hash)
    assert list(log.read()) == records


def test_two_writers_of_one_epoch_are_out_of_step(place: Path | str, log: Log, chain) -> None:
    with Log.open(place) as other:
        other.append(1, chain(2, pad=1))
        with pytest.raises(OutOfStep, match="the log is at event 2, this control plane at 0"):
            log.append(1, chain(2))


def test_sealed_texts_come_with_their_events_and_go_without_them(path: Path, log: Log, chain) -> None:
    records = chain(2)
    secret = b"ciphertext-" * 40
    a, b = Sealed(TextRef("a" * 64), TenantName("lab"), secret), Sealed(TextRef("b" * 64), TenantName("lab"), b"other")
    log.append(1, records[:1], [a, a])
    log.append(1, records[1:], [a, b])  # the same text again is kept once
    assert log.sealed(a.ref) == a
    assert any(secret in file.read_bytes() for file in path.parent.iterdir())
    assert log.erase([a.ref, TextRef("unknown")]) == 1
    assert log.erase([a.ref]) == 0
    assert log.sealed(a.ref) is None
    assert log.sealed(b.ref) == b
    assert not any(secret in file.read_bytes() for file in path.parent.iterdir())
    assert list(log.read()) == records


def test_a_log_is_read_beside_its_writer(place: Path | str, log: Log, chain) -> None:
    log.append(1, chain(5))
    with Log.open(place, read_only=True) as reader:
        assert verify(reader).events == 5
        log.append(1, chain(5, log.head))
        assert verify(reader).events == 10
        assert reader.head == log.head
        with pytest.raises(Unwritable):
            reader.append(1, chain(1, reader.head))
        with pytest.raises(Unwritable):
            reader.take_over()


def test_reading_goes_on_while_another_thread_appends(log: Log, chain) -> None:
    records = chain(2000)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while log.head.seq < 2000:
                seen = list(log.read())
                assert seen == records[: len(seen)]
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for at in range(0, 2000, 100):
        log.append(1, records[at : at + 100])
    for reader in readers:
        reader.join()
    assert failures == []


def test_what_was_acknowledged_outlives_a_kill(place: Path | str) -> None:
    code = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import make_chain
from moyai.store.log import Log
log = Log.open(sys.argv[1])
log.take_over()
while True:
    log.append(1, make_chain(7, log.head))
    print(log.head.seq, flush=True)
"""
    command = [sys.executable, "-c", code, str(place), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_env()) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(20)][-1]
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
    acknowledged = int(rest[-1]) if rest else acknowledged
    with Log.open(place) as log:
        assert log.head.seq >= acknowledged
        assert log.head.seq % 7 == 0
        assert verify(log).events == log.head.seq


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory, chain) -> tuple[Path, int]:
    """A log as a machine leaves it that loses power: everything still in the write-ahead file, of that many bytes."""
    directory = tmp_path_factory.mktemp("torn")
    with Log.open(directory / "live.db") as log:
        log.take_over()
        for _ in range(6):
            log.append(1, chain(5, log.head))
        for suffix in ("", "-wal"):
            shutil.copy(directory / f"live.db{suffix}", directory / f"log.db{suffix}")
    return directory / "log.db", (directory / "log.db-wal").stat().st_size


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_torn_write_leaves_a_whole_number_of_appends(
    torn: tuple[Path, int], tmp_path: Path, data: st.DataObject
) -> None:
    source, size = torn
    cut = data.draw(st.integers(0, size))
    for suffix in ("", "-wal"):
        shutil.copy(f"{source}{suffix}", tmp_path / f"log.db{suffix}")
    (tmp_path / "log.db-shm").unlink(missing_ok=True)
    os.truncate(tmp_path / "log.db-wal", cut)
    with Log.open(tmp_path / "log.db") as log:
        assert verify(log).events == log.head.seq
        assert log.head.seq % 5 == 0


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all, but long enough to look at")
    (tmp_path / "empty").touch()
    (tmp_path / "directory").mkdir()
    with sqlite3.connect(tmp_path / "foreign") as foreign:
        foreign.execute("CREATE TABLE photos (id INTEGER)")
    foreign.close()
    for name, create in (("text", True), ("foreign", True), ("directory", True), ("empty", False), ("missing", False)):
        for read_only in (False, True):
            with pytest.raises(NotALog, match=name):
                Log.open(tmp_path / name, create=create, read_only=read_only)
    with sqlite3.connect(tmp_path / "foreign") as foreign:
        assert foreign.execute("SELECT name FROM sqlite_master").fetchall() == [("photos",)]
    foreign.close()
    assert not (tmp_path / "missing").exists()


def test_an_empty_file_becomes_a_log(tmp_path: Path) -> None:
    (tmp_path / "log.db").touch()  # left by a start that was killed
    with Log.open(tmp_path / "log.db") as log:
        assert log.take_over() == 1


def test_a_log_of_a_newer_format_is_refused(path: Path, log: Log) -> None:
    log.close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE log SET format = 2")
    raw.close()
    with pytest.raises(NotALog, match="a newer Moyai wrote this log"):
        Log.open(path)


def test_a_log_is_its_owners_alone(path: Path, log: Log, chain) -> None:
    log.append(1, chain(1))
    assert {file.name for file in path.parent.iterdir()} == {"log.db", "log.db-wal", "log.db-shm"}
    assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.iterdir())


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
