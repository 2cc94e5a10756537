"""A job as a program declares it is the job that a workload file declares."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import moyai
from moyai.client.job import command_line, name_of
from moyai.model.specs.job import JobSpec


def test_a_program_and_a_file_declare_the_same_job() -> None:
    job = moyai.Job(
        "python train.py --data /data",
        name="train-gpt",
        cpus="16+",
        memory="128GiB+",
        accelerators="H100:8",
        nodes=2,
        deadline=timedelta(hours=36),
        expect="5h",
        limit=timedelta(minutes=90, hours=5),
        retries=2,
        priority=10,
        residency="JP",
        data=["corpus-ja@3", {"dataset": "other", "mount": "/data", "purpose": "training"}],
        checkpoint={"signal": "SIGUSR1", "grace": "60s"},
        env={"EPOCHS": "10"},
        setup="pip install -r requirements.txt",
        workdir=".",
    )
    text = """
name: train-gpt
resources: {cpus: 16+, memory: 128GiB+, accelerators: "H100:8"}
nodes: 2
deadline: 36h
expect: 5h
limit: 6h30m
retries: 2
priority: 10
residency: [JP]
data: [{dataset: corpus-ja@3}, {dataset: other, mount: /data, purpose: training}]
checkpoint: {signal: SIGUSR1, grace: 60s}
env: {EPOCHS: 10}
setup: pip install -r requirements.txt
workdir: .
run: python train.py --data /data
"""
    assert job.spec == JobSpec.from_text(text)


def test_what_is_not_given_is_not_sent() -> None:
    assert moyai.Job(["echo", "a b"]).spec.to_data() == {"name": "echo", "run": "echo 'a b'"}
    assert moyai.Job("x", name="n", checkpoint=True).spec.checkpoint is not None


def test_a_datetime_keeps_its_zone_and_one_without_is_refused() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    deadline = moyai.Job("x", deadline=at).spec.deadline
    assert deadline is not None
    assert deadline.at == at.timestamp() * 1_000_000
    with pytest.raises(moyai.BadSpec, match="time zone"):
        moyai.Job("x", deadline=datetime(2030, 1, 1))  # noqa: DTZ001


def test_all_that_is_wrong_at_once() -> None:
    with pytest.raises(moyai.BadSpec) as raised:
        moyai.Job("x", name="A", memory="80", nodes=0)
    assert [problem.key for problem in raised.value.problems] == ["name", "resources.memory", "nodes"]
    assert raised.value.code == "bad-spec"


def test_a_file_s_workdir_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    file = tmp_path / "job.yaml"
    file.write_text("name: x\nrun: echo\nworkdir: code\n")
    packed = moyai.Job.from_file(file).pack()
    assert packed is not None
    assert packed.files == 1
    file.write_text("name: x\nrun: echo\n")
    assert moyai.Job.from_file(file).pack() is None


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["echo", "a b", "$HOME"], "echo 'a b' '$HOME'"),
        (["echo a; echo b | cat"], "echo a; echo b | cat"),
        (["true"], "true"),
        (["it's"], "'it'\"'\"'s'"),
    ],
)
def test_the_words_of_a_command(words: list[str], line: str) -> None:
    assert command_line(words) == line


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("python train.py --lr 1", "train"),
        ("python3.11 -u src/Train_GPT.py", "train-gpt"),
        ("python -m http.server", "http"),
        ("./run.sh", "run"),
        ("EPOCHS=3 ./fit", "fit"),
        ("bash -c 'echo hi; ls'", "bash"),
        ("学習", "job"),
        ("'unclosed", "unclosed"),
    ],
)
def test_the_name_of_a_command(line: str, name: str) -> None:
    assert name_of(line) == name


@given(st.text(max_size=60))
def test_every_command_gets_a_name_that_is_allowed(line: str) -> None:
    spec = JobSpec.from_data({"name": name_of(line), "run": "true"})
    assert spec.name == name_of(line)
