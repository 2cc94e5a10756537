"""Whatever happens to the stored bytes: the damage is told at its event, and what comes before it can be saved."""

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moyai.model.envelope import CorruptRecord, Record
from moyai.store.errors import LogError
from moyai.store.export import export, export_directory, verify, verify_directory, verify_export
from moyai.store.log import Log

COUNT = 40


@pytest.fixture
def records(path: Path, log: Log, chain) -> list[Record]:
    """The records of a log that lies closed at `path`."""
    made = chain(COUNT, pad=150)
    log.append(1, made)
    log.close()
    return made


def _tamper(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(statement, values)


def _damage_at(path: Path) -> tuple[int, str]:
    with Log.open(path, read_only=True) as log:
        with pytest.raises(CorruptRecord) as caught:
            verify(log)
        good = caught.value.seq - 1
        out = path.with_name("saved.jsonl")
        assert export(log, out, until=good).events == good
        assert verify_export(out).events == good
    return caught.value.seq, caught.value.problem


@pytest.mark.parametrize("seq", [1, 2, 17, COUNT - 1, COUNT])
@pytest.mark.parametrize("where", [0, 30, -1])
def test_a_changed_byte_is_told_at_its_event(path: Path, records: list[Record], seq: int, where: int) -> None:
    data = bytearray(records[seq - 1].data)
    data[where] ^= 1
    _tamper(path, "UPDATE event SET data = ? WHERE seq = ?", bytes(data), seq)
    assert _damage_at(path) == (seq, "its bytes do not match the hash that is stored with them")


@pytest.mark.parametrize("seq", [1, 20, COUNT])
def test_a_changed_hash_is_told_at_its_event(path: Path, records: list[Record], seq: int) -> None:
    _tamper(path, "UPDATE event SET hash = ? WHERE seq = ?", bytes(32), seq)
    assert _damage_at(path)[0] == seq


@pytest.mark.parametrize("seq", [1, 2, 20, COUNT])
def test_a_missing_event_is_told(path: Path, records: list[Record], seq: int) -> None:
    _tamper(path, "DELETE FROM event WHERE seq = ?", seq)
    assert _damage_at(path) == (seq, "it is missing from the log")


def test_a_missing_tail_is_told(path: Path, records: list[Record]) -> None:
    _tamper(path, "DELETE FROM event WHERE seq > 30")
    assert _damage_at(path) == (31, "it is missing from the log")


def test_two_events_in_each_others_place(path: Path, records: list[Record]) -> None:
    a, b = records[9], records[10]
    for seq, other in ((10, b), (11, a)):
        digest = bytes.fromhex(other.hash)
        _tamper(path, "UPDATE event SET data = ?, hash = ? WHERE seq = ?", other.data, digest, seq)
    assert _damage_at(path) == (10, "its bytes say that it is event 11")


def test_a_forged_event_breaks_the_chain_at_the_next_one(path: Path, records: list[Record]) -> None:
    forged = records[19].data.replace(b'"tokyo', b'"kyoto')
    _tamper(path, "UPDATE event SET data = ?, hash = ? WHERE seq = 20", forged, hashlib.sha256(forged).digest())
    seq, problem = _damage_at(path)
    assert seq == 21
    assert problem.startswith("it follows " + records[19].hash[:12])


def test_a_forged_last_event_is_not_the_one_the_head_names(path: Path, records: list[Record]) -> None:
    forged = records[-1].data.replace(b'"tokyo', b'"kyoto')
    _tamper(path, "UPDATE event SET data = ?, hash = ? WHERE seq = ?", forged, hashlib.sha256(forged).digest(), COUNT)
    assert _damage_at(path) == (COUNT, "it is not the event that the log's head names")


def test_an_event_past_the_head(path: Path, records: list[Record]) -> None:
    _tamper(path, "INSERT INTO event VALUES (?, ?, ?)", COUNT + 3, bytes(32), b"{}")
    assert _damage_at(path) == (COUNT + 1, "it stands past the log's head")


@pytest.mark.parametrize("value", [5, "text", None, 2.5])
def test_a_value_of_another_type(path: Path, records: list[Record], value: object) -> None:
    if value is None:
        value = bytes(0)
    _tamper(path, "UPDATE event SET data = ? WHERE seq = 8", value)
    assert _damage_at(path)[0] == 8


def test_a_server_does_not_replay_past_damage_before_its_checkpoint(path: Path, records: list[Record]) -> None:
    _tamper(path, "DELETE FROM event WHERE seq = 5")
    with Log.open(path) as log, pytest.raises(CorruptRecord, match="event 5"):
        list(log.read(5))
    with Log.open(path) as log:
        assert list(log.read(6)) == records[6:]


def test_the_command_says_where_and_what_to_do(path: Path, records: list[Record], tmp_path: Path) -> None:
    whole = verify_directory(tmp_path)
    assert (whole.bad_seq, whole.events, whole.good.head.hash, whole.epoch) == (None, COUNT, records[-1].hash, 1)
    _tamper(path, "UPDATE event SET data = x'00' WHERE seq = 12")
    checked = verify_directory(tmp_path)
    assert (checked.bad_seq, checked.events, checked.good.events) == (12, COUNT, 11)
    assert checked.good.head.hash == records[10].hash
    assert checked.hint == "`moyai log export --until 11` saves the events before it"
    out = tmp_path / "saved.jsonl"
    with pytest.raises(CorruptRecord, match="event 12"):
        export_directory(tmp_path, out)
    assert not list(tmp_path.glob("*saved*"))
    assert export_directory(tmp_path, out, 11).head == checked.good.head


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, chain) -> tuple[Path, list[Record]]:
    """A closed log, long enough that its table has inner pages."""
    path = tmp_path_factory.mktemp("pristine") / "log.db"
    made = chain(300, pad=600)
    with Log.open(path) as log:
        log.take_over()
        log.append(1, made)
    return path, made


def _read_until_damage(path: Path, read_only: bool) -> tuple[list[Record], LogError | CorruptRecord | None]:
    seen: list[Record] = []
    try:
        with Log.open(path, read_only=read_only) as log:
            seen.extend(log.read())  # keeps what came before an error
    except (LogError, CorruptRecord) as error:
        return seen, error
    return seen, None


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 10**6),
    length=st.sampled_from([1, 1, 8, 4096]),
    mask=st.integers(1, 255),
    read_only=st.booleans(),
)
def test_no_damage_to_the_file_is_ever_read_as_truth(  # noqa: PLR0917
    pristine: tuple[Path, list[Record]], tmp_path: Path, place: int, length: int, mask: int, read_only: bool
) -> None:
    """Flip bits anywhere in the file: every record that is read is a true one, and what is lost is told."""
    source, made = pristine
    damaged = tmp_path / "log.db"
    for left in tmp_path.iterdir():
        left.unlink()
    shutil.copy(source, damaged)
    content = bytearray(damaged.read_bytes())
    start = place * len(content) // (10**6 + 1)
    for offset in range(start, min(len(content), start + length)):
        content[offset] ^= mask
    damaged.write_bytes(content)
    seen, error = _read_until_damage(damaged, read_only)
    assert seen == made[: len(seen)]
    if error is None:
        assert len(seen) == len(made)  # the damage lies where nothing of the log is
    elif isinstance(error, CorruptRecord):
        assert error.seq == len(seen) + 1 or error.seq == len(seen) == len(made)
    else:
        assert seen == []  # the head itself, or the file's own header
