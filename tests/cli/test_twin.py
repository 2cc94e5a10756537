"""`moyai twin`: what it prints, what it writes, what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.conftest import Moyai
from moyai.twin.scenarios.make import setup
from twin.scenarios.small import TEXT, scenario
from twin.whatif.logs import logged


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(TEXT.replace("jobs: 60", "jobs: 25"), "utf-8")
    return file


def test_replay_prints_tables_and_what_is_made_up(moyai: Moyai, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    ran = moyai("twin", "replay", small, "--policy", "fifo", "--seed", "2")
    assert ran.code == 0
    heading, row = ran.out.splitlines()[:2]
    assert heading.split()[:3] == ["POLICY", "ON", "TIME"]
    assert row.startswith("fifo")
    assert "every job is synthetic" in ran.out
    assert not ran.err


def test_compare_gives_means_and_intervals(moyai: Moyai, small: Path) -> None:
    ran = moyai(
        "twin",
        "compare",
        small,
        "--policy",
        "fifo,home",
        "--seeds",
        "2",
        "--estimates",
        "exact,absent",
        "--jobs",
        "1",
        "--json",
    )
    assert ran.code == 0
    said = json.loads(ran.out)
    assert [(r["policy"], r["estimates"], r["runs"]) for r in said["results"]] == [
        ("fifo", "exact", 2), ("home", "exact", 2), ("fifo", "absent", 2), ("home", "absent", 2),
    ]  # fmt: skip
    assert all(r["figures"]["yen"]["half"] is not None for r in said["results"])
    assert sum("estimates" in note for note in said["notes"]) == 2


def test_compare_writes_a_directory_once(moyai: Moyai, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    first = moyai("twin", "compare", small, "--policy", "fifo", "--seeds", "2", "--out", out)
    assert first.code == 0
    assert f"Results are in {out}." in first.err
    assert (out / "picture.png").stat().st_size > 10_000
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    again = moyai("twin", "compare", small, "--policy", "fifo", "--seeds", "2", "--out", out)
    assert again.code == 2
    assert "holds something already" in again.err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--policy", "best"], "--policy: there is no policy 'best'; choose from moyai, fifo"),
        (["--policy", ","], "--policy: names nothing"),
        (["--estimates", "vague"], "--estimates: vague is not known here; choose from exact, noisy, absent"),
        (["--format", "xls"], "--format: xls is not known here; choose from philly"),
        (["--trace", "/none.csv"], "/none.csv: there is no such file"),
        (["--out", "/none/here"], "--out: /none: there is no such directory"),
    ],
)
def test_what_is_refused_before_anything_runs(moyai: Moyai, small: Path, more: list[str], said: str) -> None:
    ran = moyai("twin", "compare", small, *more)
    assert ran.code == 2
    assert said in ran.err
    assert not ran.out


def test_a_policy_of_the_file_that_does_not_exist(moyai: Moyai, small: Path) -> None:
    small.write_text(small.read_text("utf-8") + "policies: [fifo, fife]\n", "utf-8")
    ran = moyai("twin", "compare", small)
    assert ran.code == 2
    assert "small.yaml:33: policies[1]: 'fife' is no policy; choose from moyai" in ran.err.replace("\n", "")


def test_problems_of_a_file_and_of_a_trace(moyai: Moyai, small: Path, tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text(
        "timestamp,duration,num_gpus,cluster\n2017-01-01 00:00:00,-1,1,a\n2017-01-01 00:00:00,9,0,a\n", "utf-8"
    )
    ran = moyai("twin", "replay", small, "--trace", trace, "--json")
    assert ran.code == 2
    assert json.loads(ran.out)["error"]["code"] == "bad-trace"
    assert "t.csv:2" in ran.out
    assert "t.csv:3" in ran.out
    small.write_text(
        TEXT.replace("count: 4", "count: 0").replace("price_yen_per_kwh: 30", "price_yen_per_kwh: NaN"), "utf-8"
    )
    ran = moyai("twin", "replay", small)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 2


def test_what_if(moyai: Moyai, tmp_path: Path) -> None:
    file, _ = logged(setup(scenario(TEXT, ("jobs: 60", "jobs: 15")), None, 1), tmp_path)
    ran = moyai("twin", "replay", "--log", file, "--policy", "fifo", "--set", "east.price=90", "--json")
    assert ran.code == 0
    found = {r["policy"]: r["figures"]["yen"]["mean"] for r in json.loads(ran.out)["results"]}
    assert list(found) == ["recorded", "replayed as it was", "what if: fifo"]
    assert found["what if: fifo"] > 1.2 * found["recorded"]
    ran = moyai("twin", "replay", "--log", file)
    assert "what if" not in ran.out.split("\n\n")[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["twin", "replay"], "name a scenario, or a log"),
        (["twin", "replay", "japan", "--log", "x"], "name a scenario, or a log"),
        (["twin", "replay", "japan", "--set", "tokyo.price=3"], "--set can only be given with --log"),
        (["twin", "replay", "--log", "x", "--trace", "y"], "can't be given with --log"),
        (["twin", "replay", "--log", "/none"], "--log: /none: there is no such file or directory"),
        (["twin", "replay", "japn"], "did you mean 'japan'?"),
    ],
)
def test_replay_says_what_it_needs(moyai: Moyai, arguments: list[str], said: str) -> None:
    ran = moyai(*arguments)
    assert ran.code == 2
    assert said in ran.err


def test_ctrl_c_leaves_no_file_and_no_process(small: Path, tmp_path: Path) -> None:
    small.write_text(TEXT.replace("jobs: 60", "jobs: 400"), "utf-8")
    place = tmp_path / "place"
    place.mkdir()
    command = [sys.executable, "-m", "moyai.cli.main", "twin", "compare", str(small)]
    command += ["--policy", "fifo,edf,home", "--seeds", "40", "--jobs", "2", "--out", str(place / "out")]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(place.iterdir()) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(place.iterdir()), running.communicate()
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert b"Traceback" not in err
    assert not list(place.iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)
