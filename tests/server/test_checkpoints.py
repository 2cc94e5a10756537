"""The way back to the state: checkpoints, what follows them, and what lies before them."""

import sqlite3
from pathlib import Path

import pytest

from control.fleet import SITES, World, ended
from moyai.control.state import state_bytes
from moyai.model.envelope import CorruptRecord
from moyai.server import checkpoints as module
from moyai.server.checkpoints import KeptLog, code_version
from moyai.store.log import Log
from moyai.trust.seal import public_of, sign, verify

SEED = bytes(range(32))


def opened(path: Path, epoch: int = 1, seed: bytes = SEED) -> KeptLog:
    """The log at `path`."""
    public = public_of(seed)
    return KeptLog(Log.open(path), lambda m: sign(seed, m), lambda m, s: verify(public, m, s), epoch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of some jobs, with a checkpoint in its middle."""
    world = World()
    for i in range(6):
        attempt = world.run(world.submit(f"job{i}", str(i)), SITES[i % 3])
        world.report(SITES[i % 3], ended(attempt))
    kept = opened(tmp_path / "log.db")
    assert kept.log.take_over() == 1
    middle = len(world.records) // 2
    kept.append(world.records[:middle], ())
    state = kept.load()
    kept.checkpoint(state.seq, state.head_hash, state_bytes(state))
    kept.append(world.records[middle:], ())
    assert state_bytes(kept.load()) == state_bytes(world.control.state)
    assert kept.checkpoint_seq == middle
    kept.log.close()
    return tmp_path / "log.db"


def damage(path: Path, seq: int) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE event SET data = zeroblob(40) WHERE seq = ?", (seq,))
    db.close()


def test_a_checkpoint_of_other_code_or_another_key_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = opened(path)
    wanted = state_bytes(whole.load())
    other = opened(path, seed=bytes(32))
    assert state_bytes(other.load()) == wanted
    assert other.checkpoint_seq == 0
    monkeypatch.setattr(module, "code_version", lambda: "0.0.1+other")
    later = opened(path)
    assert state_bytes(later.load()) == wanted
    assert later.checkpoint_seq == 0


def test_damage_after_the_checkpoint_is_found_by_the_load(path: Path):
    kept = opened(path)
    kept.load()
    damage(path, kept.checkpoint_seq + 2)
    with pytest.raises(CorruptRecord) as error:
        kept.load()
    assert error.value.seq == kept.checkpoint_seq + 2


def test_damage_before_the_checkpoint_is_found_before_the_start(path: Path):
    damage(path, 5)
    kept = opened(path)
    kept.load()
    with pytest.raises(CorruptRecord) as error:
        kept.scan_before_start()
    assert error.value.seq == 5


def test_what_is_too_long_to_be_checked_before_is_checked_beside(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SCAN_BEFORE_START", 3)
    damage(path, 2)
    kept = opened(path)
    kept.load()
    left = kept.scan_before_start()
    assert left == kept.checkpoint_seq - 3
    found = kept.scan_later(left, lambda: None)
    assert found is not None
    assert found.seq == 2


def test_the_code_version_names_the_version_and_the_code():
    assert code_version() == code_version()
    assert code_version().startswith(f"{module.VERSION}+")
