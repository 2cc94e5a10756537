"""The gang of the federation: its loss goes on after a resume, whatever it is counted by; through `moyai run` too."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cli.conftest import end_sites
from moyai import client as api
from moyai.model.lifecycle import JobState
from moyai.model.specs.job import JobSpec
from moyai.model.specs.resolve import resolve
from moyai.model.units import Instant

FEDERATION = Path(__file__).parents[2] / "examples/federation"
PROGRAM = FEDERATION / "train/train_gang.py"


class Gang:
    """Ranks in one directory."""

    def __init__(self, place: Path, ranks: int = 2, restored: bool = False, **env: object) -> None:
        place.mkdir(exist_ok=True)
        self.checkpoints = place / "ckpt"
        self.checkpoints.mkdir(exist_ok=True)
        base = {"PATH": os.environ["PATH"], "MOYAI_NODES": str(ranks), "MOYAI_NONCE": os.urandom(8).hex()}
        base |= {"MOYAI_CHECKPOINT": str(self.checkpoints), "MOYAI_RESTORED": str(int(restored)), "PLAIN": "1"}
        base |= {name: str(value) for name, value in env.items()}
        self.ranks = [
            subprocess.Popen(
                [sys.executable, str(PROGRAM)],
                env=base | {"MOYAI_RANK": str(rank)},
                cwd=place,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(ranks)
        ]

    def end(self) -> tuple[list[int], list[str]]:
        """Exit codes and outputs."""
        said = [rank.communicate(timeout=60)[0] for rank in self.ranks]
        return [rank.returncode for rank in self.ranks], said


def losses(output: str) -> dict[int, float]:
    """step → loss."""
    rows = [line.split() for line in output.splitlines() if line.startswith("step ")]
    return {int(row[1]): float(row[3]) for row in rows}


def test_the_file_resolves() -> None:
    order, text = resolve(JobSpec.from_file(FEDERATION / "train_gang.yaml"), Instant(0))
    assert (order.nodes, text.run) == (2, "python3 train_gang.py")
    assert order.checkpoint is not None


def test_any_number_of_ranks_trains_the_same_model(tmp_path: Path) -> None:
    curves = []
    for ranks in (1, 3):
        codes, said = Gang(tmp_path / str(ranks), ranks, STEPS=300, EVERY=100).end()
        assert codes == [0] * ranks, said
        curves.append(losses(said[0]))
    assert curves[0] == curves[1]
    assert curves[0][100] > curves[0][200] > curves[0][300]


def test_the_curve_goes_on_after_a_resume(tmp_path: Path) -> None:
    whole = losses(Gang(tmp_path / "whole", STEPS=400, EVERY=100).end()[1][0])
    gang = Gang(tmp_path / "cut", STEPS=100_000, EVERY=100)
    deadline = time.monotonic() + 30
    while not list(gang.checkpoints.glob("step-000200/.complete")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    gang.ranks[1].send_signal(signal.SIGTERM)  # one rank is told, all end in the same step
    codes, said = gang.end()
    assert codes == [143, 143], said
    for later in sorted(gang.checkpoints.iterdir()):
        if later.name != "step-000200":
            later.rename(tmp_path / later.name)
    codes, said = Gang(tmp_path / "cut", restored=True, STEPS=400, EVERY=100).end()
    assert codes == [0, 0], said
    assert "resumed from step-000200" in said[0]
    assert losses(said[0]) == {step: loss for step, loss in whole.items() if step > 200}


def test_a_signal_asks_for_a_checkpoint_now(tmp_path: Path) -> None:
    gang = Gang(tmp_path / "x", STEPS=1_000_000, EVERY=1_000_000, PAUSE_MS=1)
    assert gang.ranks[0].stdout is not None
    assert "2 ranks by" in gang.ranks[0].stdout.readline()
    gang.ranks[0].send_signal(signal.SIGUSR1)
    assert gang.ranks[0].stdout.readline().startswith("checkpoint step-")
    for rank in gang.ranks:
        rank.send_signal(signal.SIGTERM)
    assert gang.end()[0] == [143, 143]


def test_a_rank_that_is_left_alone_says_so(tmp_path: Path) -> None:
    gang = Gang(tmp_path / "x", STEPS=1_000_000, PAUSE_MS=1)
    assert gang.ranks[0].stdout is not None
    gang.ranks[0].stdout.readline()
    gang.ranks[1].kill()
    codes, said = gang.end()
    assert codes[0] == 1
    assert "another rank is gone" in said[0]


def test_torch_trains_the_same_model(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: `uv pip install torch` to see DDP")
    plain = losses(Gang(tmp_path / "plain", STEPS=200, EVERY=100).end()[1][0])
    codes, said = Gang(tmp_path / "torch", STEPS=200, EVERY=100, PLAIN="").end()
    assert codes == [0, 0], said
    assert "torch DDP" in said[0]
    assert losses(said[0]) == pytest.approx(plain, abs=2e-5)


def test_it_goes_on_from_its_checkpoint_on_the_host_engine(tmp_path: Path) -> None:
    """A real local site, whose supervisor is killed in the middle: the job is tried again and its curve goes on."""
    place = Path(tempfile.mkdtemp(prefix="moyai-t-", dir="/tmp"))
    shutil.copytree(PROGRAM.parent, tmp_path / "train")
    words = (FEDERATION / "train_gang.yaml").read_text()
    file = tmp_path / "train_gang.yaml"
    file.write_text(
        words.replace("STEPS: 3000, EVERY: 250, PAUSE_MS: 10", "STEPS: 1500, EVERY: 100, PAUSE_MS: 3, PLAIN: 1")
    )
    try:
        with api.Client(place) as client:
            job = client.run(file)
            deadline = time.monotonic() + 60
            while len(job.view().checkpoints) < 2:
                assert time.monotonic() < deadline, job.view()
                time.sleep(0.05)
            for supervisor in place.glob("sites/*/supervisor.pid"):
                os.kill(int(supervisor.read_text()), signal.SIGKILL)
            view = job.wait(90)
            assert view.state is JobState.SUCCEEDED
            assert len(view.attempts) == 2
            first, second = losses(job.output(1)), losses(job.output(2))
            assert "resumed from step-" in job.output(2)
            assert min(second) > 200 - 1
            assert max(second) == 1_500
            assert all(first[step] == second[step] for step in first.keys() & second.keys())
            assert second[min(second)] < first[100]
            os.kill(client.health().pid, signal.SIGTERM)
    finally:
        end_sites(place)
        shutil.rmtree(place, ignore_errors=True)
