"""Each kind of bad input is a clear message and exit code 2, before anything is started or sent."""

import json
from pathlib import Path

import pytest

from cli.conftest import Moyai

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A control plane's directory in which nothing may appear."""
    place = tmp_path / "home"
    monkeypatch.setenv("MOYAI_DIR", str(place))
    return place


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: x\nrun: |\n\techo\n", "3: a tab indents this line"),
        ("name: x\n\trun: echo\n", "tab"),
        ("name: x\nname: y\nrun: echo\n", "name"),
        (BOMB + "run: echo\n", "alias"),
        ("name: x\nrun: echo\nresorces: {}\n", "did you mean 'resources'?"),
        ("name: x\nrun: echo\nresources: {accelerators: 'H100:0'}\n", "'H100:0' asks for none; write 'H100:1'"),
        ("name: x\nrun: echo\ndeadline: 2020-01-01T00:00Z\n", "3: deadline: '2020-01-01T00:00:00Z' is in the past"),
        ("name: x\nrun: echo\ndeadline: 2030-01-01T00:00\n", "no time zone"),
        ("name: x\nrun: echo\nresources: {memory: 80}\n", "'80' has no unit; write '80GiB'"),
        ('name: "a\\nb"\nrun: echo\n', r"holds '\n'"),
        ("name: x\n", "run: is missing"),
        ("", "is empty"),
        ("name: x\nrun: " + "y" * 10_000_000, "is larger than"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_a_bad_file(moyai: Moyai, tmp_path: Path, nowhere: Path, content: str, said: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(content)
    for command in ("run", "plan"):
        ran = moyai(command, file)
        assert ran.code == 2
        assert said in ran.err
        assert str(file) in ran.err
        assert "Traceback" not in ran.err
    assert not nowhere.exists()


def test_all_problems_of_a_file_at_once_each_with_its_line(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("name: X\nrun: echo\nnodes: none\nresources:\n  memory: 80\n")
    ran = moyai("run", file)
    assert ran.code == 2
    assert [line.split(": ")[1] for line in ran.err.splitlines()] == [f"{file}:{n}" for n in (1, 3, 5)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing.yaml",), "missing.yaml: no such file"),
        ((), "nothing to run"),
        (("--",), "nothing to run"),
        (("python", "train.py"), "moyai run -- python train.py"),
        (("a.yaml", "--", "echo"), "given together"),
        (("a.yaml", "--cpus", "2"), "--cpus can't be given with a workload file"),
        (("--memory", "80", "--", "echo"), "--memory: '80' has no unit; write '80GiB'"),
        (("--accelerators", "H100:0", "--", "echo"), "--accelerators: 'H100:0' asks for none"),
        (("--deadline", "2020-01-01T00:00Z", "--", "echo"), "--deadline: '2020-01-01T00:00:00Z' is in the past"),
        (("--deadline", "tomorrow", "--", "echo"), "--deadline: 'tomorrow'"),
        (("--nodes", "0", "--", "echo"), "--nodes: '0'"),
        (("--name", "a\nb", "--", "echo"), r"--name: 'a\nb' holds '\n'"),
        (("--residency", "JP,Nippon", "--", "echo"), "--residency: 'Nippon'"),
        (("--env", "MOYAI_NO_SUCH_NAME", "--", "echo"), "MOYAI_NO_SUCH_NAME has no value here"),
        (("--workdir", "/no/such/dir", "--", "echo"), "/no/such/dir is not a directory"),
        (("--workdir", "a", "--no-workdir", "--", "echo"), "can't be given together"),
        (("--priorty", "1", "--", "echo"), "--priorty"),
    ],
)
def test_bad_options(moyai: Moyai, nowhere: Path, arguments: tuple[str, ...], said: str) -> None:
    ran = moyai("run", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert not nowhere.exists()


def test_json_of_a_mistake_is_one_document_with_every_problem(moyai: Moyai) -> None:
    ran = moyai("run", "--json", "--memory", "80", "--cpus", "0", "--", "echo")
    found = json.loads(ran.out)["error"]
    assert (ran.code, ran.err, found["code"]) == (2, "", "bad-spec")
    assert [problem["key"] for problem in found["problems"]] == ["resources.cpus", "resources.memory"]


def test_a_mistyped_command_names_the_nearest(moyai: Moyai) -> None:
    ran = moyai("cancle")
    assert ran.code == 2
    assert "Did you mean 'cancel'?" in ran.err


@pytest.mark.parametrize("arguments", [("ps",), ("why", "x"), ("logs", "x"), ("cancel", "x")])
def test_a_look_at_nothing_leaves_nothing_behind(moyai: Moyai, nowhere: Path, arguments: tuple[str, ...]) -> None:
    ran = moyai(*arguments)
    assert ran.code == 4
    assert "no server runs there" in ran.err
    assert not nowhere.exists()


def test_an_error_that_nobody_foresaw_is_one_line_and_a_file(moyai: Moyai, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("moyai.client.job.name_of", broken)
    ran = moyai("run", "--", "echo")
    assert ran.code == 70
    assert len(ran.err.splitlines()) == 1
    details = Path(ran.err.strip().rsplit(" ", 1)[1])
    assert "no such luck" in ran.err
    assert "Traceback" in details.read_text()
    details.unlink()
