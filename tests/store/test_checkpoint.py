"""A checkpoint is used only where everything about it holds; else replay starts at zero, and a warning says why."""

import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from moyai.store.checkpoint import Checkpoint, make_checkpoint, restore
from moyai.store.errors import OutOfStep
from moyai.store.log import Log
from moyai.trust.seal import public_of, sign, verify

KEY = bytes(range(32))
STATE = b'{"jobs":{}}' * 1000


def _sign(message: bytes) -> bytes:
    return sign(KEY, message)


def _verify(message: bytes, signature: bytes) -> bool:
    return verify(public_of(KEY), message, signature)


def _made(log: Log, seq: int, state: bytes = STATE) -> Checkpoint:
    head_hash = log.hash_at(seq)
    assert head_hash is not None
    return make_checkpoint(seq, head_hash, "0.1.0", state, _sign)


def test_a_checkpoint_comes_back(place: Path | str, log: Log, chain) -> None:
    records = chain(10)
    log.append(1, records)
    checkpoint = _made(log, 10)
    assert len(checkpoint.state) < len(STATE) / 10
    log.save_checkpoint(checkpoint)
    log.append(1, chain(5, log.head))
    log.close()
    with Log.open(place) as again:
        assert list(again.checkpoints()) == [checkpoint]
        restored = restore(again, "0.1.0", _verify)
        assert restored is not None
        assert (restored.seq, restored.head_hash, restored.state) == (10, records[-1].hash, STATE)
        assert [r.seq for r in again.read(restored.seq, prev_hash=restored.head_hash)] == [11, 12, 13, 14, 15]


def test_the_newest_three_are_kept(log: Log, chain) -> None:
    log.append(1, chain(10))
    for seq in (2, 4, 6, 8, 8):
        log.save_checkpoint(_made(log, seq))
    assert [c.seq for c in log.checkpoints()] == [8, 6, 4]


def test_no_checkpoint_at_all(log: Log) -> None:
    assert restore(log, "0.1.0", _verify) is None


def test_a_checkpoint_of_another_log_is_not_saved(log: Log, chain) -> None:
    log.append(1, chain(3))
    with pytest.raises(OutOfStep):
        log.save_checkpoint(make_checkpoint(3, "ab" * 32, "0.1.0", STATE, _sign))
    with pytest.raises(OutOfStep):
        log.save_checkpoint(make_checkpoint(4, log.head.hash, "0.1.0", STATE, _sign))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda c: replace(c, signature=bytes(64)), "signature is wrong"),
        (lambda c: replace(c, signature=b""), "signature is wrong"),
        (lambda c: replace(c, state=c.state[:-1] + bytes([c.state[-1] ^ 1])), "signature is wrong"),
        (lambda c: replace(c, state_hash="00" * 32), "signature is wrong"),
        (lambda c: make_checkpoint(c.seq, c.head_hash, "0.0.9", STATE, _sign), "version 0.0.9 made it, this is 0.1.0"),
        (lambda c: replace(c, code_version="0.2.0"), "signature is wrong"),
    ],
)
def test_what_does_not_hold_is_passed_over(
    log: Log, chain, caplog: pytest.LogCaptureFixture, spoil, problem: str
) -> None:
    log.append(1, chain(10))
    older = _made(log, 5, b"older")
    log.save_checkpoint(older)
    log.save_checkpoint(spoil(_made(log, 10)))
    with caplog.at_level(logging.WARNING, logger="moyai.store"):
        restored = restore(log, "0.1.0", _verify)
    assert restored is not None
    assert (restored.seq, restored.state) == (5, b"older")
    assert "checkpoint at event 10 is not used" in caplog.text
    assert problem in caplog.text


@pytest.mark.parametrize("wrong", ["hash", "unpack"])
def test_signed_but_wrong_state_is_passed_over(log: Log, chain, caplog: pytest.LogCaptureFixture, wrong: str) -> None:
    from moyai.store import checkpoint as module

    log.append(1, chain(3))
    good = _made(log, 3)
    packed = good.state if wrong == "hash" else b"no zstd"
    state_hash = "11" * 32
    signature = _sign(module._signed(3, good.head_hash, state_hash, "0.1.0", packed))
    log.save_checkpoint(replace(good, state=packed, state_hash=state_hash, signature=signature))
    assert restore(log, "0.1.0", _verify) is None
    assert ("does not match its hash" if wrong == "hash" else "can't be unpacked") in caplog.text


def test_a_checkpoint_whose_event_was_changed_is_passed_over(
    path: Path, log: Log, chain, caplog: pytest.LogCaptureFixture
) -> None:
    log.append(1, chain(3))
    log.save_checkpoint(_made(log, 2))
    log.close()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE event SET hash = ? WHERE seq = 2", (bytes(32),))
        raw.execute("INSERT INTO checkpoint SELECT 3, head_hash, state_hash, 7, state, signature FROM checkpoint")
    with Log.open(path) as again:
        assert restore(again, "0.1.0", _verify) is None
    assert "does not belong to this log" in caplog.text
