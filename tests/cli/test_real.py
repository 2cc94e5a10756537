"""The commands against a real server with a real local site."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import moyai as api
from cli.conftest import Moyai, end_sites
from moyai.client import Piece
from moyai.model.lifecycle import JobState


@pytest.fixture(autouse=True)
def there(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The server's directory is meant, from an empty working directory."""
    monkeypatch.setenv("MOYAI_DIR", str(home))
    monkeypatch.chdir(tmp_path)


def test_a_command_runs_and_its_output_stands_alone(moyai: Moyai) -> None:
    ran = moyai("run", "--no-workdir", "--", "echo hello; echo trouble >&2")
    assert ran.code == 0
    assert sorted(ran.out.splitlines()) == ["hello", "trouble"]
    assert "✔" in ran.err
    assert "succeeded at local" in ran.err


@pytest.mark.parametrize(
    ("line", "code"), [("exit 7", 7), ("no-such-command-anywhere", 127), ("kill -9 $$", 137), ("true", 0)]
)
def test_the_exit_code_is_the_job_s(moyai: Moyai, line: str, code: int) -> None:
    ran = moyai("run", "--no-workdir", "--name", "code", "--", f"{line} ")
    assert ran.code == code
    if code == 127:
        assert "command not found" in ran.err


def test_a_limit_is_no_end_of_its_own(moyai: Moyai) -> None:
    ran = moyai("run", "--no-workdir", "--limit", "1s", "--", "sleep", "30")
    assert ran.code == 3
    assert "ran past its limit" in ran.err


def test_json_is_one_document_with_the_job(moyai: Moyai) -> None:
    ran = moyai("run", "--json", "--no-workdir", "--", "echo hi; exit 3")
    found = json.loads(ran.out)
    assert ran.code == 3
    assert (found["state"], found["exit_code"], found["site"]) == ("failed", 3, "local")


def test_the_files_of_the_directory_travel(moyai: Moyai, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("print(open('data/word.txt').read())")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "word.txt").write_text("sent along")
    ran = moyai("run", "--", sys.executable, "hello.py")
    assert (ran.code, ran.out) == (0, "sent along\n")
    assert f"Sends {tmp_path.resolve()}: 2 files" in ran.err


def test_a_file_sends_only_what_it_says_and_hints_at_the_rest(moyai: Moyai, tmp_path: Path) -> None:
    (tmp_path / "hello.sh").write_text("echo from the file")
    file = tmp_path / "job.yaml"
    file.write_text("name: by-file\nrun: sh hello.sh\n")
    ran = moyai("run", file)
    assert ran.code != 0
    assert "add the line 'workdir: .'" in ran.err
    file.write_text("name: by-file\nrun: sh hello.sh\nworkdir: .\n")
    ran = moyai("run", file)
    assert (ran.code, ran.out) == (0, "from the file\n")


def test_left_running_and_found_again(moyai: Moyai) -> None:
    ran = moyai("run", "-d", "--no-workdir", "--name", "long", "--", "echo begun; sleep 60")
    assert ran.code == 0
    job = next(word for word in ran.err.split() if word.startswith("long-"))
    assert job in moyai("ps").out
    found = json.loads(moyai("ps", "--json", "--state", "active", "--state", "pending").out)
    assert job in [each["job"] for each in found["jobs"]]
    assert job not in moyai("ps", "--state", "failed").out
    with api.Client(start=False) as client:
        while client.job(job).output() == "":
            pass
    assert moyai("logs", "long").out == "begun\n"
    assert json.loads(moyai("logs", job, "--json").out)["output"] == "begun\n"
    assert "long" in moyai("why", job[:-3]).out
    assert json.loads(moyai("why", job, "--json").out)["site"] == "local"
    assert moyai("cancel", job).code == 0
    with api.Client(start=False) as client:
        assert client.job(job).wait(20).state is JobState.CANCELLED
    ran = moyai("logs", "-f", job)
    assert ran.out == "begun\n"
    assert "cancelled" in ran.err
    assert moyai("cancel", job).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--residency", "US"), "US"),
        (("--accelerators", "H100:8"), "H100:8"),
        (("--cpus", "100000"), "100"),
        (("--nodes", "4000"), "4"),
        (("--data", "no-such-corpus"), "no-such-corpus"),
    ],
)
def test_what_no_site_can_ever_do_is_refused_and_nothing_is_left(
    moyai: Moyai, arguments: tuple[str, ...], said: str
) -> None:
    before = json.loads(moyai("ps", "--json").out)["jobs"]
    for command in ("plan", "run"):
        ran = moyai(command, "--no-workdir", *arguments, "--", "echo")
        assert ran.code == 2
        assert said in ran.err
    assert json.loads(moyai("ps", "--json").out)["jobs"] == before


def test_a_plan_is_shown_and_submits_nothing(moyai: Moyai) -> None:
    before = len(json.loads(moyai("ps", "--json").out)["jobs"])
    ran = moyai("plan", "--dry-run", "--", "sleep", "1")
    assert ran.code == 0
    assert "✔" in ran.out
    assert json.loads(moyai("plan", "--json", "--", "sleep", "1").out)["considered"]
    assert len(json.loads(moyai("ps", "--json").out)["jobs"]) == before


def test_pages_of_jobs(moyai: Moyai) -> None:
    with api.Client(start=False) as client:
        handles = [client.run(api.Job("true", name=f"page-{i}")) for i in range(3)]
        for handle in handles:
            assert handle.wait(20).state is JobState.SUCCEEDED
    first = json.loads(moyai("ps", "--json", "-n", "2").out)
    assert [job["name"] for job in first["jobs"]] == ["page-2", "page-1"]
    rest = json.loads(moyai("ps", "--json", "-n", "1", "--before", first["before"]).out)
    assert [job["name"] for job in rest["jobs"]] == ["page-0"]
    assert "moyai ps --before" in moyai("ps", "-n", "2").err


def test_unknown_names(moyai: Moyai) -> None:
    for command in ("why", "logs", "cancel"):
        ran = moyai(command, "nobody")
        assert ran.code == 2
        assert "there is no job 'nobody'" in ran.err
    for command in ("drain", "resume"):
        ran = moyai("sites", command, "nowhere")
        assert ran.code == 2
        assert "nowhere" in ran.err
    assert json.loads(moyai("why", "nobody", "--json").out)["error"]["code"] == "not-found"


def test_a_site_is_drained_and_takes_work_again(moyai: Moyai) -> None:
    assert "ready" in moyai("sites").out
    assert moyai("sites", "drain", "local").code == 0
    try:
        assert json.loads(moyai("sites", "--json").out)[0]["draining"]
        ran = moyai("plan", "--", "true")
        assert ran.code == 0, "a drain may be lifted: the job may wait for it"
        assert "drained" in ran.out
    finally:
        assert moyai("sites", "resume", "local").code == 0
    assert "ready" in moyai("sites").out


def test_a_dataset_is_named_listed_and_read(moyai: Moyai, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_text("words")
    assert moyai("data", "ls").code == 0
    ran = moyai("data", "add", "corpus-x", corpus, "--purpose", "training")
    assert (ran.code, "corpus-x@1 is ready at local" in ran.out) == (0, True)
    assert "corpus-x@1" in moyai("data", "ls").out
    ran = moyai("run", "--no-workdir", "--data", "corpus-x", "--", "cat $MOYAI_DATA_CORPUS_X/a.txt ")
    assert ran.code == 2, "it may be used for training only"
    file = tmp_path / "job.yaml"
    file.write_text(
        "name: reader\nrun: cat $MOYAI_DATA_CORPUS_X/a.txt\ndata: [{dataset: corpus-x@1, purpose: training}]\n"
    )
    assert moyai("run", file).out == "words"
    ran = moyai("data", "add", "corpus-y", tmp_path / "missing")
    assert (ran.code, "corpus-y" in ran.err) == (2, True)


def test_the_log_beside_its_server(moyai: Moyai, tmp_path: Path) -> None:
    ran = moyai("log", "verify")
    assert (ran.code, "intact" in ran.out) == (0, True)
    assert json.loads(moyai("log", "verify", "--json").out)["intact"]
    out = tmp_path / "log.jsonl"
    assert moyai("log", "export", out, "--until", "3").code == 0
    assert len(out.read_text().splitlines()) == 3
    assert moyai("log", "export", out).code == 2, "no file is overwritten"
    assert moyai("log", "export", tmp_path / "more", "--until", "1000000").code == 2


def test_a_second_server_on_the_directory_is_refused(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "moyai.cli.main", "up", "--dir", str(home)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(home) in done.stderr


def test_a_server_that_dies_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="moyai-t-", dir="/tmp"))
    told: list[str] = []
    try:
        with api.Client(place, say=lambda what, _: told.append(what)) as client:
            job = client.run(
                api.Job(
                    "echo one; until [ -e $GO ]; do sleep 0.05; done; echo two",
                    name="survivor",
                    env={"GO": str(tmp_path / "go")},
                )
            )
            data = b""
            for item in job.follow(since=1):
                if isinstance(item, Piece):
                    data += item.data
                if data == b"one\n" and told == ["starting"]:
                    os.kill(client.health().pid, signal.SIGKILL)
                    client.jobs()
                    (tmp_path / "go").touch()
            assert data == b"one\ntwo\n"
            assert job.state is JobState.SUCCEEDED
            assert len(job.view().attempts) == 1, "a restart of the server never ends what runs"
            assert told == ["starting", "starting"]
            os.kill(client.health().pid, signal.SIGTERM)
    finally:
        end_sites(place)
        shutil.rmtree(place, ignore_errors=True)


def test_a_damaged_log_is_said_with_its_event_and_a_way_out(moyai: Moyai, tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="moyai-t-", dir="/tmp"))
    try:
        assert moyai("run", "--dir", place, "--no-workdir", "--", "true").code == 0
        assert moyai("down", "--dir", place).code == 0
        with sqlite3.connect(place / "log.db") as log:
            log.execute("UPDATE event SET data = replace(data, 'true', 'tree') WHERE seq = 4")
            log.execute("UPDATE event SET hash = replace(hash, 'a', 'b') WHERE seq = 4")
        for command in (("run", "--no-workdir", "--", "true"), ("ps",), ("log", "verify"), ("log", "export", "x")):
            ran = moyai(
                command[0],
                *(command[1:2] if command[0] == "log" else ()),
                "--dir",
                place,
                *(command[2:] if command[0] == "log" else command[1:]),
            )
            assert ran.code == 2, command
            assert "event 4" in ran.err
            assert "moyai log export" in ran.err
            assert "--until 3" in ran.err
        assert moyai("log", "export", "saved", "--until", "3", "--dir", place).code == 0
    finally:
        end_sites(place)
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("place", ["/dev/null/x", "/proc/moyai"])
def test_a_directory_that_can_not_be_used(moyai: Moyai, place: str) -> None:
    ran = moyai("run", "--dir", place, "--no-workdir", "--", "true")
    assert ran.code == 2
    assert f"{place}: can't be used" in ran.err
    assert "--dir" in ran.err


def test_a_program_does_the_same() -> None:
    with api.Client(start=False) as client:
        job = client.run(api.Job("echo $WORD; exit 5", name="api", env={"WORD": "moyai"}), key="one-key")
        assert client.run(api.Job("echo $WORD; exit 5", name="api", env={"WORD": "moyai"}), key="one-key").id == job.id
        ended = job.wait(20)
        assert (ended.state, ended.exit_code) == (JobState.FAILED, 5)
        assert job.output() == "moyai\n"
        assert job.state is JobState.FAILED
        assert job.why().site == "local"
        with pytest.raises(api.MoyaiError) as raised:
            client.run(api.Job("other", name="api"), key="one-key")
        assert raised.value.status == 409
        with pytest.raises(api.MoyaiError, match="no attempt 9"):
            job.output(attempt=9)
