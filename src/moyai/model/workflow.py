"""Workflows as they stand in the log: tasks that are ordinary jobs, the files between them, and what waits for what.

A file is a dataset version that a task makes: version 1 of a dataset of its own. Its path is its tenant's word and is
sealed with the task's text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moyai.model.ids import DatasetName, JobId, ProjectName, TenantName, WorkflowId, job_id
from moyai.model.workload import JobOrder

FILE_VERSION = 1
"""The version of every file: a task that ran again made the same file anew."""
SHOWN = 8
"""Tasks of a circle that are named."""


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """A task as declared. `order.data` names the datasets from outside; `reads` and `writes` the workflow's files."""

    order: JobOrder  # its name is the task's
    after: tuple[str, ...] = ()  # tasks that must have succeeded before it, whatever it reads
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()  # of what it writes: stays when no task needs it any more


@dataclass(frozen=True, slots=True)
class File:
    """A file that a task makes. Its residency is that of everything the task reads: the rules travel with the data."""

    name: str  # as the tasks call it
    dataset: DatasetName
    residency: tuple[str, ...]
    keep: bool


@dataclass(frozen=True, slots=True)
class Task:
    """A task in the log: the job that it is, what it waits for, and what it makes."""

    name: str
    job: JobId
    after: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[File, ...]


def workflow_id(tenant: TenantName, project: ProjectName, name: str, request: str) -> WorkflowId:
    """The id of the workflow that `request` (its idempotency key) submits."""
    return WorkflowId(job_id(tenant, project, name, request))


def task_job_id(tenant: TenantName, project: ProjectName, task: str, request: str) -> JobId:
    """The id of the job that a task of the workflow of `request` is."""
    return job_id(tenant, project, task, f"{request}/{task}")


def file_dataset(workflow: WorkflowId, file: str) -> DatasetName:
    """The dataset of a file. No person can register one of that name: theirs hold no dot."""
    return DatasetName(f"{workflow}.{file}")


def problems(tasks: Sequence[TaskOrder]) -> list[tuple[int, str, str, str]]:
    """Everything that is wrong in a graph, as (index of the task, its key, the name that is wrong, the problem).

    A name given twice; a file that two tasks write, or none; a task that isn't there; tasks that wait for one another
    in a circle, which is looked for last and told once.
    """
    found: list[tuple[int, str, str, str]] = []
    index = {task.order.name: i for i, task in reversed(list(enumerate(tasks)))}
    maker: dict[str, int] = {}
    for i, task in enumerate(tasks):
        if index[task.order.name] != i:
            found.append((i, "name", task.order.name, "is another task's name already"))
        for file in task.writes:
            if file in maker:
                other = tasks[maker[file]].order.name
                found.append((i, "writes", file, f"is written by {other} already"))
            maker.setdefault(file, i)
    for i, task in enumerate(tasks):
        found += [(i, "reads", f, "is written by no task") for f in task.reads if f not in maker]
        found += [(i, "after", name, "is no task") for name in task.after if name not in index]
        found += [(i, "keep", f, "isn't among what it writes") for f in task.keep if f not in task.writes]
    if not found:
        circle = circle_of(tasks)
        if circle:
            names = [tasks[i].order.name for i in circle]
            shown = [*names[:SHOWN], *(["…"] if len(names) > SHOWN else []), names[0]]
            found.append((circle[0], "", names[0], f"waits for itself: {' → '.join(shown)}"))
    return found


def parents_of(tasks: Sequence[TaskOrder]) -> list[list[int]]:
    """The tasks that each one waits for, by index, each once. Names that lead nowhere are passed over."""
    index = {task.order.name: i for i, task in enumerate(tasks)}
    maker = {file: i for i, task in enumerate(tasks) for file in task.writes}
    found: list[list[int]] = []
    for task in tasks:
        names = [index[n] for n in task.after if n in index] + [maker[f] for f in task.reads if f in maker]
        found.append(list(dict.fromkeys(names)))
    return found


def in_order(parents: Sequence[Sequence[int]]) -> list[int]:
    """The tasks, each after its parents; where the graph has a circle, without those on it and behind it."""
    waits = [len(p) for p in parents]
    children: list[list[int]] = [[] for _ in parents]
    for i, mine in enumerate(parents):
        for parent in mine:
            children[parent].append(i)
    order = [i for i, count in enumerate(waits) if not count]
    for i in order:  # grows as it goes
        for child in children[i]:
            waits[child] -= 1
            if not waits[child]:
                order.append(child)
    return order


def circle_of(tasks: Sequence[TaskOrder]) -> list[int]:
    """The tasks along one circle, each waiting for the one before, from the first in the list; empty where none is."""
    parents = parents_of(tasks)
    left = set(range(len(tasks))) - set(in_order(parents))
    if not left:
        return []
    path: dict[int, int] = {}
    at = min(left)
    while at not in path:
        path[at] = len(path)
        at = min(p for p in parents[at] if p in left)
    circle = list(path)[path[at] :][::-1]
    first = circle.index(min(circle))
    return circle[first:] + circle[:first]


def both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...] | None:
    """The residency that satisfies two: "JP" and "JP-40" give "JP-40". Empty allows every place; None: none is left.

    Codes hold one another or are apart, so the common places are the narrower one of each pair that nests.
    """
    if not one or not other:
        return one or other
    found = {a for a in one for b in other if a == b or a.startswith(b + "-")}
    found |= {b for a in one for b in other if b.startswith(a + "-")}
    return tuple(sorted(found)) or None


def inherited(
    tasks: Sequence[TaskOrder], outside: Sequence[Sequence[tuple[str, ...]]]
) -> Mapping[str, tuple[str, ...] | None]:
    """The residency of each file: of its task, of the task's datasets (`outside`, by task), of all that it reads.

    None where no place satisfies them all. The graph must be without problems.
    """
    files: dict[str, tuple[str, ...] | None] = {}
    for i in in_order(parents_of(tasks)):
        task = tasks[i]
        rule: tuple[str, ...] | None = task.order.residency
        for more in (*outside[i], *(files[f] for f in task.reads)):
            rule = None if rule is None or more is None else both(rule, more)
        files.update(dict.fromkeys(task.writes, rule))
    return files
