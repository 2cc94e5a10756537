"""A workflow as a person writes it: tasks that are jobs, the files that they hand on, and what waits for what."""

from typing import Annotated, TypeAlias

from pydantic import Field, model_validator

from moyai.model.ids import BlobId
from moyai.model.specs.base import Spec
from moyai.model.specs.fields import Directory, Name, Read
from moyai.model.specs.job import JobSpec
from moyai.model.specs.problems import BadValue, BadValues, Path, SpecError, quoted
from moyai.model.specs.resolve import resolve
from moyai.model.units import Instant
from moyai.model.workflow import TaskOrder, problems
from moyai.model.workload import JobOrder, JobText, Need

MAX_NAME = 50


def _relative(text: str) -> str:
    parts = text.split("/")
    if not text or text.startswith("/") or ".." in parts:
        raise BadValue("is no path below the task's directory", "write for example 'out/' or 'sums.json'")
    if not text.isprintable() or len(text.encode()) > 255:
        raise BadValue("is no usable path", "write for example 'out/' or 'sums.json'")
    return text


RelativePath: TypeAlias = Annotated[str, Read(_relative, str, {"type": "string", "minLength": 1})]


class TaskSpec(JobSpec):
    """A task: a job with the files that it reads and writes, and the tasks that come before it."""

    reads: tuple[Name, ...] = Field(
        default=(),
        description="Files of other tasks that it reads. Each is a directory at $MOYAI_DATA_<NAME>, and lies at its "
        "site before it starts.",
        examples=[["parts"]],
    )
    writes: dict[Name, RelativePath] = Field(
        default={},
        description="Files that it leaves: a name for other tasks, and the file or directory below its own directory. "
        "Without one of them the task has failed.",
        examples=[{"parts": "parts/"}],
    )
    after: tuple[Name, ...] = Field(
        default=(),
        description="Tasks that must have succeeded before it, beside those whose files it reads.",
        examples=[["check"]],
    )
    keep: tuple[Name, ...] = Field(
        default=(),
        description="Of the files that it writes, those that stay as datasets. Files that no task reads stay in any "
        "case; the others are deleted when no task needs them any more.",
        examples=[["report"]],
    )


class WorkflowSpec(Spec):
    """A workflow: tasks that hand files on, each run where the plan finds it best."""

    name: Name = Field(
        description=f"What people call it: lower-case letters, digits and '-', at most {MAX_NAME}.",
        examples=["count-words"],
    )
    workdir: Directory | None = Field(
        default=None,
        description="A directory that travels with every task and is its working directory, relative to this file.",
        examples=["."],
    )
    tasks: tuple[TaskSpec, ...] = Field(
        description="The tasks, in any order.",
        examples=[[{"name": "split", "run": "python split.py", "writes": {"parts": "parts/"}}]],
    )

    @model_validator(mode="after")
    def _whole(self) -> "WorkflowSpec":
        bad = [BadValue("is too long", f"use at most {MAX_NAME} characters", below=("name",))] * (
            len(self.name) > MAX_NAME
        )
        if not self.tasks:
            bad.append(BadValue("holds no task", "write one: '- name: …' and 'run: …'", "the list", ("tasks",)))
        for number, task in enumerate(self.tasks):
            if task.workdir is not None:
                hint = "write it once, above the tasks"
                bad.append(BadValue("is one for all tasks", hint, below=("tasks", number, "workdir")))
        bad += [self._bad(*wrong) for wrong in problems([_graph(task) for task in self.tasks])]
        if bad:
            raise BadValues(tuple(bad))
        return self

    def _bad(self, number: int, key: str, name: str, problem: str) -> BadValue:
        below: Path = ("tasks", number)
        if key == "writes":
            below = (*below, key, name)
        elif key == "name":
            below = (*below, key)
        elif key:
            listed = getattr(self.tasks[number], key)
            below = (*below, key, listed.index(name))
        return BadValue(problem, _HINTS.get(key, "take one of these waits out"), quoted(name), below)


_HINTS = {
    "name": "give each task a name of its own",
    "writes": "give each file a name of its own",
    "reads": "name a file that a task writes; datasets from outside stand under `data`",
    "after": "name a task of this workflow",
    "keep": "name one of its own files",
}


def _graph(task: TaskSpec) -> TaskOrder:
    return TaskOrder(JobOrder(task.name, Need()), task.after, task.reads, tuple(task.writes), task.keep)


def resolve_workflow(
    spec: WorkflowSpec, now: Instant, workdir: BlobId | None = None, workdir_bytes: int = 0
) -> tuple[tuple[TaskOrder, ...], tuple[JobText, ...]]:
    """What the log holds of each task, and its tenant's words apart, in the order of the file.

    Raises SpecError where a deadline is not after `now`.
    """
    read = {file for task in spec.tasks for file in task.reads}
    orders: list[TaskOrder] = []
    texts: list[JobText] = []
    for number, task in enumerate(spec.tasks):
        try:
            order, text = resolve(task, now, workdir, workdir_bytes, files=tuple(task.writes.items()))
        except SpecError as error:  # a deadline: a task doesn't know its lines, the workflow does
            at: Path = ("tasks", number, "deadline")
            raise SpecError(tuple(spec.source.problem(at, p.wrong, p.hint, p.found) for p in error.problems)) from None
        keep = tuple(file for file in task.writes if file in task.keep or file not in read)
        orders.append(TaskOrder(order, task.after, task.reads, tuple(task.writes), keep))
        texts.append(text)
    return tuple(orders), tuple(texts)
