"""Real logs for the tests: those of replays, written as an export is."""

from pathlib import Path

from moyai.model.envelope import Record
from moyai.twin.compare.task import run_setup
from moyai.twin.policies import Knowledge, make
from moyai.twin.replay.outcome import Outcome
from moyai.twin.replay.run import replay
from moyai.twin.replay.setup import Setup

__all__ = ["logged", "run_setup"]


def logged(made: Setup, place: Path, policy: str = "fifo") -> tuple[Path, Outcome]:
    """An export of the log of a replay, and what came out of it."""
    kept: list[Record] = []
    knowledge = Knowledge({a.job: a.work.total_us for a in made.arrivals}, made.homes, 0)
    outcome = replay(made, make(policy, knowledge), policy=policy, watch=kept.extend)
    file = place / "log.jsonl"
    file.write_bytes(b"".join(record.data + b"\n" for record in kept))
    return file, outcome
