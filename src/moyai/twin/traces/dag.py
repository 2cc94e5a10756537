"""What must hold in a workflow's graph, so that it can be run at all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moyai.model.specs.problems import quoted

SHOWN = 8
"""Tasks of a circle that are named."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task, with the names of its parents, children and files."""

    name: str
    key: str  # where its file says it
    parents: tuple[str, ...]
    children: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def problems_of(tasks: Sequence[Task], files: set[str]) -> Iterator[tuple[str, str]]:
    """Everything that is wrong, as (key, problem), in the order of the tasks; a cycle is looked for last.

    A name given twice; a file that isn't in `files`; a parent or child that is no task; a parent that doesn't name
    the task as its child, or the other way round; a file read that only tasks write which needn't be over before it;
    tasks that wait for one another in a circle.
    """
    by_name: dict[str, Task] = {}
    for task in tasks:
        if task.name in by_name:
            yield task.key, f"{quoted(task.name)} is the id of {by_name[task.name].key} already"
        by_name.setdefault(task.name, task)
    parents = {task.name: frozenset(task.parents) for task in by_name.values()}
    children = {task.name: frozenset(task.children) for task in by_name.values()}
    makers = _makers(tasks)
    for task in by_name.values():
        for name in (*task.reads, *task.writes):
            if name not in files:
                yield task.key, f"the file {quoted(name)} isn't in specification.files"
        for name in task.parents:
            if name not in by_name:
                yield f"{task.key}.parents", f"{quoted(name)} is no task"
            elif task.name not in children[name]:
                yield f"{task.key}.parents", f"{quoted(name)} doesn't name it as its child"
        for name in task.children:
            if name not in by_name:
                yield f"{task.key}.children", f"{quoted(name)} is no task"
            elif task.name not in parents[name]:
                yield f"{task.key}.children", f"{quoted(name)} doesn't name it as its parent"
        for name in task.reads:
            made_by = makers.get(name)
            if made_by and task.name not in made_by and not _one_before(task, made_by, by_name):
                yield task.key, f"reads {quoted(name)}, which {quoted(min(made_by))} writes, and that isn't before it"
    circle = _circle(by_name)
    if circle:
        said = [quoted(name) for name in circle]
        shown = [*said[:SHOWN], *(["…"] if len(said) > SHOWN else []), said[0]]
        yield by_name[circle[0]].key, f"waits for itself: {' → '.join(shown)}"


def unsaid_makers(tasks: Sequence[Task]) -> int:
    """Files that more than one task writes, so that who made what a reader gets isn't said."""
    return sum(len(made_by) > 1 for made_by in _makers(tasks).values())


def _makers(tasks: Sequence[Task]) -> dict[str, set[str]]:
    """The tasks that write each file."""
    found: dict[str, set[str]] = {}
    for task in tasks:
        for name in task.writes:
            found.setdefault(name, set()).add(task.name)
    return found


def _one_before(task: Task, wanted: set[str], by_name: dict[str, Task]) -> bool:
    """Whether one of `wanted` is an ancestor of `task`. Mostly it is a parent, and nothing is searched."""
    if not wanted.isdisjoint(task.parents):
        return True
    seen = set(task.parents)
    todo = list(task.parents)
    while todo:
        for name in by_name[parent].parents if (parent := todo.pop()) in by_name else ():
            if name in wanted:
                return True
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return False


def _circle(by_name: dict[str, Task]) -> list[str]:
    """The names along one circle, each the parent of the next, from its first in the file; none where there is none.

    What is left when tasks without parents are taken away, again and again, is on a circle or behind one.
    """
    waits = {name: sum(p in by_name for p in task.parents) for name, task in by_name.items()}
    children: dict[str, list[str]] = {name: [] for name in by_name}
    for name, task in by_name.items():
        for parent in task.parents:
            if parent in children:
                children[parent].append(name)
    free = [name for name, count in waits.items() if not count]
    while free:
        for child in children[free.pop()]:
            waits[child] -= 1
            if not waits[child]:
                free.append(child)
    left = [name for name, count in waits.items() if count]
    if not left:
        return []
    path: dict[str, int] = {}
    at = left[0]
    while at not in path:
        path[at] = len(path)
        at = next(p for p in by_name[at].parents if waits.get(p))
    circle = list(path)[path[at] :][::-1]
    order = {name: index for index, name in enumerate(by_name)}
    first = min(range(len(circle)), key=lambda index: order[circle[index]])
    return circle[first:] + circle[:first]
