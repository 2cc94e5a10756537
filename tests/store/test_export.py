"""An export holds the very bytes of the events, whole or not at all."""

import io
import json
from pathlib import Path

import pytest

from moyai.model.envelope import GENESIS, CorruptRecord
from moyai.store.chain import Head
from moyai.store.errors import NotALog, Unwritable
from moyai.store.export import export, export_directory, verify, verify_directory, verify_export
from moyai.store.log import Log


def test_an_export_is_one_event_a_line(log: Log, chain, tmp_path: Path) -> None:
    records = chain(12)
    log.append(1, records)
    out = tmp_path / "out.jsonl"
    done = export(log, out)
    assert out.read_bytes() == b"".join(r.data + b"\n" for r in records)
    assert (done.events, done.head, done.size_bytes) == (12, log.head, out.stat().st_size)
    assert verify_export(out) == verify(log)
    assert json.loads(out.read_bytes().splitlines()[4])["seq"] == 5


def test_a_prefix_and_a_stream(log: Log, chain) -> None:
    records = chain(12)
    log.append(1, records)
    stream = io.BytesIO()
    assert export(log, stream, until=3).head == Head(3, records[2].hash)
    assert stream.getvalue() == b"".join(r.data + b"\n" for r in records[:3])
    with pytest.raises(ValueError, match="no event 13; the log ends at event 12"):
        export(log, io.BytesIO(), until=13)


def test_an_empty_log(log: Log, tmp_path: Path) -> None:
    assert export(log, tmp_path / "out.jsonl").events == 0
    assert verify_export(tmp_path / "out.jsonl").head == Head(0, GENESIS)


def test_beside_a_running_server(path: Path, log: Log, chain, tmp_path: Path) -> None:
    log.append(1, chain(5))
    assert verify_directory(tmp_path).good.events == 5
    log.append(1, chain(5, log.head))
    assert export_directory(tmp_path, tmp_path / "out.jsonl").events == 10


def test_a_directory_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(NotALog, match="no log there"):
        verify_directory(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(log: Log, chain, tmp_path: Path) -> None:
    log.append(1, chain(5))
    out = tmp_path / "out.jsonl"
    out.write_text("precious")
    with pytest.raises(Unwritable, match="there is a file of this name"):
        export(log, out)
    assert out.read_text() == "precious"
    with pytest.raises(Unwritable, match="can't be written"):
        export(log, tmp_path / "nowhere" / "out.jsonl")
    assert not list(tmp_path.glob(".out*"))


def test_a_damaged_export_is_told_at_its_line(log: Log, chain, tmp_path: Path) -> None:
    log.append(1, chain(5))
    out = tmp_path / "out.jsonl"
    export(log, out)
    lines = out.read_bytes().splitlines(keepends=True)
    for name, content, seq in (
        ("cut", b"".join(lines)[:-1], 5),
        ("torn", b"".join(lines)[:-9], 5),
        ("lost", b"".join(lines[:1] + lines[2:]), 2),
        ("changed", b"".join([*lines[:2], lines[2].replace(b"tokyo", b"kyoto"), *lines[3:]]), 4),
        ("garbage", lines[0] + b"\xff\xfe\n", 2),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorruptRecord) as caught:
            verify_export(tmp_path / name)
        assert caught.value.seq == seq, name
    with pytest.raises(NotALog):
        verify_export(tmp_path / "missing")
