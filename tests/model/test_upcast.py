"""Old bodies become new ones step by step; the bytes in the log stay what they were."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pytest

from moyai.model import events, upcast
from moyai.model.codec import DecodeError, decode
from moyai.model.envelope import GENESIS, CorruptRecord, Draft, Origin, open_record, seal
from moyai.model.units import Instant


@dataclass(frozen=True, slots=True)
class BatteryCharged:
    """A made-up kind, in its third version: Wh became mWh, and the site came in."""

    site: str
    energy_mwh: int


def _to_2(fields: dict[str, Any]) -> dict[str, Any]:
    return {"energy_mwh": fields["energy_wh"] * 1000}


def _to_3(fields: dict[str, Any]) -> dict[str, Any]:
    return {"site": "tokyo", **fields}


STEPS = {("BatteryCharged", 1): _to_2, ("BatteryCharged", 2): _to_3}


@pytest.mark.parametrize(
    ("version", "body"),
    [(1, b'{"energy_wh":5}'), (2, b'{"energy_mwh":5000}'), (3, b'{"site":"tokyo","energy_mwh":5000}')],
)
def test_each_version_becomes_the_newest(version: int, body: bytes) -> None:
    raised = upcast.upcast("BatteryCharged", version, body, STEPS, 3)
    assert raised == b'{"energy_mwh":5000,"site":"tokyo"}'
    assert decode(raised, BatteryCharged) == BatteryCharged("tokyo", 5000)


def test_only_as_far_as_asked() -> None:
    assert upcast.upcast("BatteryCharged", 1, b'{"energy_wh":5}', STEPS, 2) == b'{"energy_mwh":5000}'


def test_a_missing_step_and_a_version_from_the_future() -> None:
    with pytest.raises(DecodeError, match="BatteryCharged version 3 has no upcaster"):
        upcast.upcast("BatteryCharged", 1, b'{"energy_wh":5}', STEPS, 4)
    with pytest.raises(DecodeError, match=r"version 5 is newer than this version of Moyai knows \(3\)"):
        upcast.upcast("BatteryCharged", 5, b"{}", STEPS, 3)


@pytest.mark.parametrize("body", [b"", b"[1]", b"\xff", b"3"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(DecodeError):
        upcast.upcast("BatteryCharged", 1, body, STEPS, 3)


def test_old_bytes_are_kept_and_only_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    started = events.ControlStarted(1, "0.1.0")
    old = seal(Draft(started, Origin.OUTSIDE), 1, GENESIS, Instant(5), 1)
    monkeypatch.setitem(events.EVENTS, "ControlStarted", (events.ControlStarted, 2))
    with pytest.raises(CorruptRecord, match="ControlStarted version 1 has no upcaster"):
        open_record(old.data, 1, GENESIS)
    monkeypatch.setitem(
        upcast.STEPS, ("ControlStarted", 1), lambda fields: {**fields, "code_version": fields["code_version"] + "+old"}
    )
    record = open_record(old.data, 1, GENESIS)
    assert record.body == events.ControlStarted(1, "0.1.0+old")
    assert record.data == old.data
    assert record.hash == old.hash == hashlib.sha256(old.data).hexdigest()
    after = seal(Draft(started, Origin.OUTSIDE), 2, record.hash, Instant(6), 1)
    assert json.loads(after.data)["version"] == 2
    assert open_record(after.data, 2, record.hash).body == started


def test_every_step_that_is_needed_is_there() -> None:
    """Each kind can be read from its first version on, and no step is for nothing."""
    needed = {(kind, version) for kind, (_, newest) in events.EVENTS.items() for version in range(1, newest)}
    assert upcast.STEPS.keys() == needed
