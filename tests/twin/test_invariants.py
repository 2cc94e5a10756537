"""The judge sees what is wrong: each finding is made on purpose once."""

import contextlib
from dataclasses import replace

import pytest

from moyai.control.state import BrokenInvariant
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin, Record, seal
from moyai.model.ids import AttemptId
from moyai.model.lifecycle import JobState
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant
from moyai.twin.control import Log
from moyai.twin.invariants import findings
from moyai.twin.play import Stage


@pytest.fixture(scope="module")
def stage() -> Stage:
    played = Stage(3)
    played.play()
    return played


def _found(stage: Stage, log: Log, middle: int = 0) -> list[str]:
    assert stage.control.control is not None
    return list(findings(log, stage.control.control, stage.scenario.jobs, middle))


def _with(stage: Stage, *bodies: e.EventBody) -> list[str]:
    """What is found where these events stand at the log's end; the state, which lacks them, is not looked at."""
    log = Log(list(stage.control.log.records), stage.control.log.head, stage.control.log.epoch)
    records: list[Record] = []
    for body in bodies:
        draft = Draft(body, Origin.DECIDED)
        record = seal(draft, len(log.records) + 1, log.head, Instant(0), log.epoch)
        log.append(log.epoch, [record])
        records.append(record)
    said: list[str] = []
    assert stage.control.control is not None
    with contextlib.suppress(BrokenInvariant):  # the replay refuses what the reader found before
        said.extend(findings(log, stage.control.control, stage.scenario.jobs, 0))
    return said


def _issued(stage: Stage) -> e.AttemptIssued:
    return next(r.body for r in stage.control.log.read() if isinstance(r.body, e.AttemptIssued))


def test_a_world_at_rest_is_clean(stage: Stage) -> None:
    assert _found(stage, stage.control.log, len(stage.control.log.records) // 2) == []


def test_a_changed_byte_is_found(stage: Stage) -> None:
    records = list(stage.control.log.records)
    records[4] = records[4].replace(b"1", b"2", 1)
    assert "does not verify" in _found(stage, Log(records, stage.control.log.head, 1))[0]


def test_a_second_commit_is_found(stage: Stage) -> None:
    job = stage.scenario.jobs[0]
    said = _with(stage, e.JobEnded(job, JobState.SUCCEEDED, Reason(Code.EXIT)))
    assert any("by JobEnded" in words for words in said)


def test_an_attempt_out_of_order_is_found(stage: Stage) -> None:
    issued = _issued(stage)
    job = issued.attempt.rpartition(".")[0]
    said = _with(stage, replace(issued, attempt=AttemptId(f"{job}.99")))
    assert any("ordinal" in words and "is next" in words for words in said)


def test_too_much_on_a_node_is_found(stage: Stage) -> None:
    issued = _issued(stage)
    crowded = replace(issued.placement, nodes=issued.placement.nodes * 99)
    said = _with(stage, replace(issued, placement=crowded))
    assert any("holds" in words and "cores" in words for words in said)


def test_another_state_is_found(stage: Stage) -> None:
    control = stage.control.control
    assert control is not None
    control.state.history["x"] = [1]
    try:
        assert any("another state" in words for words in _found(stage, stage.control.log, 5))
    finally:
        del control.state.history["x"]


def test_a_lost_job_is_found(stage: Stage) -> None:
    control = stage.control.control
    assert control is not None
    assert any("is unknown" in w for w in findings(stage.control.log, control, ["never-heard-of"], 0))  # type: ignore[list-item]
