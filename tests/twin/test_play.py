"""A seed is the same everywhere, and the command line says what it found."""

import os
import subprocess
import sys

import pytest

from moyai.model import events as e
from moyai.twin.__main__ import main
from moyai.twin.play import Stage, play
from moyai.twin.rules import Rule


def test_a_seed_is_the_same_world_every_time() -> None:
    first = play(3)
    assert first == play(3)
    assert first.head != play(4).head
    assert first.log_events > 0


def test_a_seed_is_the_same_under_every_hash_seed() -> None:
    code = "from moyai.twin.play import play; p = play(7); print(p.head, p.state, p.world_events)"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(said) == 1


def test_the_worlds_hold_what_they_are_there_to_try() -> None:
    """Faults do strike, and their consequences are in the logs: else a clean run would say nothing."""
    kinds: set[str] = set()
    reasons: set[str] = set()
    takeovers = 0
    for seed in range(100):
        stage = Stage(seed)
        stage.play()
        takeovers += stage.control.lives - 1
        for record in stage.control.log.read():
            kinds.add(record.kind)
            if isinstance(record.body, e.AttemptEnded | e.AttemptStopRequested):
                reasons.add(record.body.reason.code)
    assert takeovers > 10
    assert kinds >= {
        "AttemptLost",
        "CapacityReported",
        "CheckpointCompleted",
        "DatasetAdopted",
        "JobCancelRequested",
        "JobRequeued",
        "ReplicaDropped",
        "SignalChanged",
        "SiteLost",
        "TransferEnded",
    }
    assert reasons >= {
        "cancelled",
        "engine-forgot",
        "exit",
        "launch-failed",
        "lease-expired",
        "start-refused",
        "time-limit",
    }


def test_replay_shows_the_world_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay-seed", "3"]) == 0
    shown = capsys.readouterr().out
    assert "takes over at event 0" in shown
    assert "JobSubmitted" in shown
    assert "seed 3: every promise held" in shown


def test_a_failing_seed_prints_the_command_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    seed = next(s for s in range(500) if play(s, Rule.REPORT_DEDUP).problem)
    assert main(["soak", "--seeds", f"{seed}..{seed + 1}", "--without", "report-dedup"]) == 1
    shown = capsys.readouterr()
    assert f"    python -m moyai.twin replay-seed {seed} --without report-dedup\n" in shown.out
    assert "1/1 seeds" in shown.err
    assert main(["replay-seed", str(seed), "--without", "report-dedup", "--quiet"]) == 1


@pytest.mark.parametrize("words", [["soak", "--seeds", "9"], ["soak", "--seeds", "9..9"], ["soak", "--without", "x"]])
def test_bad_words_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert capsys.readouterr().err
