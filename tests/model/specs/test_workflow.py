"""A workflow file: what it says, and everything that can be wrong in it, with its line."""

import pytest

from moyai.model.specs.problems import SpecError
from moyai.model.specs.workflow import WorkflowSpec, resolve_workflow
from moyai.model.units import Instant

NOW = Instant(1_790_000_000_000_000)
GOOD = """\
name: count-words
workdir: .
tasks:
  - name: split
    run: python split.py
    data: [{dataset: corpus-ja@3}]
    writes: {parts: parts/, index: index.json}
  - name: count
    reads: [parts]
    resources: {cpus: 2}
    deadline: 2h
    retries: 1
    run: python count.py
    writes: {sums: sums.json}
    keep: [sums]
  - name: report
    reads: [sums]
    after: [split]
    run: cat $MOYAI_DATA_SUMS/sums.json
"""


def test_a_good_one_resolves_task_by_task() -> None:
    spec = WorkflowSpec.from_text(GOOD, "w.yaml")
    assert WorkflowSpec.from_data(spec.to_data()) == spec
    tasks, texts = resolve_workflow(spec, NOW)
    split, count, report = tasks
    assert [t.order.name for t in tasks] == ["split", "count", "report"]
    assert (split.writes, split.keep) == (("parts", "index"), ("index",))  # nobody reads the index: it is a result
    assert (count.reads, count.writes, count.keep) == (("parts",), ("sums",), ("sums",))
    assert (report.reads, report.after) == (("sums",), ("split",))
    assert count.order.need.cores == 2
    assert count.order.deadline == NOW + 7_200_000_000
    assert [u.dataset for u in split.order.data] == ["corpus-ja"]
    assert texts[0].files == (("parts", "parts/"), ("index", "index.json"))


def task(more: str, name: str = "a") -> str:
    return f"  - {{name: {name}, run: x{', ' if more else ''}{more}}}\n"


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (task("reads: [x]"), "w.yaml:3: tasks[0].reads[0]: 'x' is written by no task"),
        (task("after: [b]"), "w.yaml:3: tasks[0].after[0]: 'b' is no task"),
        (task("") + task(""), "w.yaml:4: tasks[1].name: 'a' is another task's name already"),
        (
            task("writes: {x: y}") + task("writes: {x: z}", "b"),
            "w.yaml:4: tasks[1].writes.x: 'x' is written by a already",
        ),
        (task("keep: [x]"), "w.yaml:3: tasks[0].keep[0]: 'x' isn't among what it writes"),
        (
            task("after: [c]") + task("after: [a]", "b") + task("after: [b]", "c"),
            "w.yaml:3: tasks[0]: 'a' waits for itself: a → b → c → a",
        ),
        (task("workdir: ."), "w.yaml:3: tasks[0].workdir: '.' is one for all tasks"),
        (task("writes: {x: ../y}"), "w.yaml:3: tasks[0].writes.x: '../y' is no path below the task's directory"),
        (task("writes: {x: /y}"), "w.yaml:3: tasks[0].writes.x: '/y' is no path below the task's directory"),
        (task("write: {x: y}"), "w.yaml:3: tasks[0].write: is no known key; did you mean 'writes'?"),
        (task("deadline: 2020-01-01T00:00Z"), "w.yaml:3: tasks[0].deadline: "),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tasks: str, said: str) -> None:
    with pytest.raises(SpecError) as problem:
        resolve_workflow(WorkflowSpec.from_text(f"name: w\ntasks:\n{tasks}", "w.yaml"), NOW)
    assert said in str(problem.value)


def test_all_problems_of_a_graph_are_told_at_once() -> None:
    text = "name: w\ntasks:\n" + task("reads: [x], after: [q]") + task("keep: [z]")
    with pytest.raises(SpecError) as problem:
        WorkflowSpec.from_text(text, "w.yaml")
    assert len(problem.value.problems) == 4


@pytest.mark.parametrize(
    "text", ["name: w\n", "name: w\ntasks: []\n", "name: w\ntasks: x\n", f"name: {'w' * 51}\ntasks:\n{task('')}"]
)
def test_a_workflow_without_tasks_or_with_a_long_name_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        WorkflowSpec.from_text(text, "w.yaml")
