"""Every release can read the logs of all before it: byte for byte, with the chain whole, and no kind forgotten."""

import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from moyai.model.codec import encode
from moyai.model.envelope import GENESIS, Draft, Record, open_record, seal
from moyai.model.events import EVENTS
from moyai.store.export import verify_export
from moyai.store.log import Log

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.jsonl"))
HEADS: dict[str, list[int | str]] = json.loads((HERE / "heads.json").read_text())


def _replay(path: Path) -> list[Record]:
    records: list[Record] = []
    prev = GENESIS
    for seq, line in enumerate(path.read_bytes().splitlines(), 1):
        records.append(open_record(line, seq, prev))
        prev = records[-1].hash
    return records


def test_each_release_has_its_file_and_none_was_lost() -> None:
    assert {path.name for path in FILES} == HEADS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_log_is_what_it_was(path: Path) -> None:
    verified = verify_export(path)
    assert [verified.events, verified.head.hash] == HEADS[path.name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_replayed_byte_for_byte(path: Path) -> None:
    for record, line in zip(_replay(path), path.read_bytes().splitlines(), strict=True):
        assert record.data == line
        assert record.hash == hashlib.sha256(line).hexdigest()
        fields = json.loads(line)
        assert record.kind == fields["kind"]
        assert type(record.body) is EVENTS[record.kind][0]
        if fields["version"] == EVENTS[record.kind][1]:
            # The kind was not changed since: its canonical bytes are still the same.
            draft = Draft(
                record.body,
                record.origin,
                record.tenant,
                record.project,
                record.actor,
                record.request,
                record.cause,
                record.reported_at,
            )
            again = seal(draft, record.seq, record.prev_hash, record.recorded_at, record.epoch)
            assert again.data == line
            assert again == record


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_fits_into_a_log_of_today(path: Path, tmp_path: Path) -> None:
    records = _replay(path)
    with Log.open(tmp_path / "log.db") as log:
        assert log.take_over() == 1
        log.append(1, records)
        assert list(log.read()) == records


def test_every_kind_and_version_is_in_a_golden_log() -> None:
    found = {(f["kind"], f["version"]) for path in FILES for f in map(json.loads, path.read_bytes().splitlines())}
    wanted = {(kind, version) for kind, (_, newest) in EVENTS.items() for version in range(1, newest + 1)}
    missing = sorted(wanted - found)
    assert not missing, f"make the next release's golden log with {missing}: tests/golden/make.py"
    assert found <= wanted


def test_the_script_makes_the_newest_file_and_refuses_to_touch_it() -> None:
    make = runpy.run_path(str(HERE / "make.py"))
    newest = FILES[-1]
    assert b"".join(record.data + b"\n" for record in make["chain"]()) == newest.read_bytes()
    done = subprocess.run(
        [sys.executable, str(HERE / "make.py"), newest.stem], env=_env("0"), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "never written again" in done.stderr


def test_the_bytes_do_not_hang_on_the_hash_seed() -> None:
    code = """
import runpy, sys
make = runpy.run_path(sys.argv[1])
print(make["chain"]()[-1].hash)
from moyai.model.codec import encode
print(encode({"sites": {"tokyo", "fukuoka", "ishikari"}, "b": {"z": 1, "a": (1, 2)}, "a": None}).decode())
print(hash("moyai"))
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(HERE / "make.py")], env=_env(s), capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for s in ("0", "4242")
    ]
    assert said[0][:2] == said[1][:2]
    assert said[0][2] != said[1][2]  # the two did run under different seeds
    assert (
        said[0][1]
        == encode({"a": None, "b": {"a": [1, 2], "z": 1}, "sites": ["fukuoka", "ishikari", "tokyo"]}).decode()
    )
    assert said[0][0] == HEADS[FILES[-1].name][1]


def _env(seed: str) -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
