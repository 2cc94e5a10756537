"""`moyai run` of a workflow on a real server with a real local site."""

import json
from pathlib import Path

import pytest

import moyai as api
from cli.conftest import Moyai
from moyai.client.errors import BadSpec
from moyai.model.lifecycle import JobState, WorkflowState

EXAMPLE = Path(__file__).parents[2] / "examples" / "workflow.yaml"


@pytest.fixture(autouse=True)
def there(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The server's directory is meant, from an empty working directory."""
    monkeypatch.setenv("MOYAI_DIR", str(home))
    monkeypatch.chdir(tmp_path)


def test_the_example_runs_to_its_end(moyai: Moyai, home: Path) -> None:
    ran = moyai("run", EXAMPLE)
    assert ran.code == 0, ran.err
    assert "5 tasks" in ran.err
    assert "sum succeeded at local" in ran.err
    with api.Client() as client:
        (row,) = [w for w in client.workflows() if w.name == "count-primes"]
        assert (row.state, row.tasks_ended) == (WorkflowState.SUCCEEDED, 5)
        view = client.workflow(row.workflow).view()
        last = next(t for t in view.tasks if t.task == "sum")
        assert client.job(last.job).output() == "6057 primes\n"
        (report,) = last.writes
        assert report.sites == ("local",)
        assert report.size_bytes == len("6057 primes\n")
        names = [d.dataset for d in client.datasets()]
        assert names == [report.dataset], "the files that no task needs any more are gone"


def test_a_task_that_fails_takes_along_what_waits_for_it(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(
        "name: broken\ntasks:\n"
        "  - {name: make, run: exit 7, writes: {x: x.txt}}\n"
        "  - {name: use, reads: [x], run: 'true'}\n"
    )
    ran = moyai("run", "--json", file)
    view = json.loads(ran.out)
    assert ran.code == 1
    assert view["state"] == "failed"
    assert [t["state"] for t in view["tasks"]] == ["failed", "cancelled"]
    assert view["tasks"][1]["reason"]["subject"] == "make"


def test_a_task_without_its_file_has_failed(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text("name: forgets\ntasks:\n  - {name: make, run: 'true', writes: {x: x.txt}}\n")
    ran = moyai("run", file)
    assert ran.code == 1
    assert "did not leave its file x: there is no x.txt" in ran.err


def test_a_file_may_not_lead_out_of_the_directory(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text("name: leads\ntasks:\n  - {name: make, run: ln -s /etc x, writes: {x: x/hostname}}\n")
    ran = moyai("run", file)
    assert ran.code == 1
    assert "leads out of the working directory" in ran.err


def test_it_waits_and_is_cancelled(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(
        "name: long\ntasks:\n"
        "  - {name: first, run: sleep 60, writes: {x: x.txt}}\n"
        "  - {name: then, reads: [x], run: 'true'}\n"
    )
    with api.Client() as client:
        handle = client.run_workflow(file)
        then = next(t for t in handle.view().tasks if t.task == "then")
        why = client.job(then.job).why()
        assert (why.reason.code, why.reason.subject) == ("waits-for", "first")
        assert moyai("cancel", handle.id).out.startswith(handle.id)
        ended = handle.wait(30)
        assert ended.state is WorkflowState.CANCELLED
        assert {t.state for t in ended.tasks} == {JobState.CANCELLED}


def test_left_running_and_unknown_ones(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text("name: short\ntasks:\n  - {name: a, run: 'true'}\n")
    ran = moyai("run", "-d", "--json", file)
    assert ran.code == 0
    left = json.loads(ran.out)
    with api.Client() as client:
        assert client.workflow(left["workflow"]).wait(30).state is WorkflowState.SUCCEEDED
    assert moyai("cancel", "nothing-like-it").code == 2


def test_what_is_wrong_is_said_with_its_line(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text("name: loop\ntasks:\n  - {name: a, run: x, after: [b]}\n  - {name: b, run: x, reads: [c]}\n")
    ran = moyai("run", file)
    assert ran.code == 2
    assert "flow.yaml:4" in ran.err
    assert "'c' is written by no task" in ran.err
    with api.Client() as client, pytest.raises(BadSpec):
        client.run_workflow(file)
    assert moyai("run", "--cpus", "2", file).code == 2
