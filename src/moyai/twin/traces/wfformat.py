"""WfFormat: one run of a real scientific workflow, a DAG of tasks with their files and run times, as JSON.

Source of the format: wfcommons/WfFormat, schema 1.5 (specification apart from execution); instances:
wfcommons/WfInstances. Sizes in bytes, run times in seconds.

A DAG with holes is another DAG: one thing that is wrong refuses the whole file, and all of them are said.
"""

import json
from math import ceil
from typing import cast

from moyai.model.ids import TenantName
from moyai.model.specs.problems import quoted
from moyai.model.units import MICROS_PER_SECOND
from moyai.model.workload import Need
from moyai.twin.traces.dag import Task, problems_of, unsaid_makers
from moyai.twin.traces.naming import stem
from moyai.twin.traces.rows import MOST, MOST_SECONDS
from moyai.twin.traces.trace import BadRow, Limits, Trace, TraceError, TraceFile, TraceJob, TraceNode

SOURCE = "WfCommons WfInstances: wfcommons/WfInstances; Coleman et al., FGCS 2022"
LICENCE = "LGPL-3.0"
SCHEMAS = ("1.5",)
TENANT = TenantName("workflow")


class _Reader:
    """Typed steps into JSON that note what is wrong, by its key, and go on."""

    def __init__(self, file: str, most: int) -> None:
        self.file = file
        self.problems: list[BadRow] = []
        self._most = most
        self._more = 0

    def wrong(self, key: str, problem: str) -> None:
        """Note a problem; beyond the bound it is counted."""
        if len(self.problems) < self._most:
            self.problems.append(BadRow(self.file, 0, f"{key}: {problem}"))
        else:
            self._more += 1

    @property
    def count_of(self) -> int:
        """How many problems there are so far."""
        return len(self.problems) + self._more

    def check(self) -> None:
        """Raises TraceError with everything noted, if anything was."""
        if self.problems:
            more = (BadRow(self.file, 0, f"and {self._more} more problems"),) if self._more else ()
            raise TraceError((*self.problems, *more))

    def mapping(self, holder: dict[str, object], key: str, name: str) -> dict[str, object]:
        """The mapping under `name`; an empty one where there is none."""
        value = holder.get(name)
        if isinstance(value, dict):
            return cast("dict[str, object]", value)
        self.wrong(f"{key}.{name}" if key else name, "is missing" if value is None else "isn't a mapping")
        return {}

    def mappings(
        self, holder: dict[str, object], key: str, name: str, *, needed: bool = True
    ) -> list[tuple[str, dict[str, object]]]:
        """The mappings in the list under `name`, each with its key."""
        value = holder.get(name)
        if not isinstance(value, list):
            if needed or value is not None:
                self.wrong(f"{key}.{name}", "is missing" if value is None else "isn't a list")
            return []
        found: list[tuple[str, dict[str, object]]] = []
        for index, item in enumerate(cast("list[object]", value)):
            if isinstance(item, dict):
                found.append((f"{key}.{name}[{index}]", cast("dict[str, object]", item)))
            else:
                self.wrong(f"{key}.{name}[{index}]", "isn't a mapping")
        return found

    def text(self, holder: dict[str, object], key: str, name: str) -> str:
        """The text under `name`; "" where there is none."""
        value = holder.get(name)
        if isinstance(value, str) and value:
            return value
        self.wrong(f"{key}.{name}", "is missing" if value is None else f"{_shown(value)} isn't a name")
        return ""

    def texts(self, holder: dict[str, object], key: str, name: str, *, needed: bool) -> tuple[str, ...]:
        """The texts in the list under `name`, each once."""
        value = holder.get(name)
        if value is None and not needed:
            return ()
        if not isinstance(value, list):
            self.wrong(f"{key}.{name}", "is missing" if value is None else "isn't a list")
            return ()
        found: dict[str, None] = {}
        for index, item in enumerate(cast("list[object]", value)):
            if isinstance(item, str) and item:
                found[item] = None
            else:
                self.wrong(f"{key}.{name}[{index}]", f"{_shown(item)} isn't a name")
        return tuple(found)

    def count(self, holder: dict[str, object], key: str, name: str, *, default: int | None = None) -> int:
        """The whole number of 0 or more under `name`.

        With a `default` nothing need be there, and a fraction is rounded up, as the schema has a "number" there.
        """
        value = holder.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, float) and abs(value) <= MOST and (value.is_integer() or default is not None):
            value = ceil(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
            self.wrong(f"{key}.{name}", _not_a_count(value))
            return 0
        return value

    def seconds_us(self, holder: dict[str, object], key: str, name: str) -> int:
        """Microseconds of the seconds, 0 or more, under `name`."""
        value = holder.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            said = "is missing; seconds are needed" if value is None else f"{_shown(value)} isn't a number of seconds"
            self.wrong(f"{key}.{name}", said)
            return 0
        if not 0 <= value <= MOST_SECONDS:
            self.wrong(f"{key}.{name}", f"{_shown(value)} is {'negative' if value < 0 else 'more than 100 years'}")
            return 0
        return round(value * MICROS_PER_SECOND)


def load(data: bytes, file: str, limits: Limits) -> tuple[Trace, tuple[BadRow, ...]]:
    """The workflow in the bytes of a WfFormat file, as jobs that name their parents and files; all submitted at 0.

    A task's cores are its coreCount (1 where it isn't said), its memory its memoryInBytes. The machines that it ran
    on are the trace's nodes. Raises TraceError for JSON that can't be read, another schema, a field that is missing
    or of another kind or below 0, a name given twice, a file that isn't listed, an unknown parent or child, parents
    and children that contradict one another, a file read that is only written by tasks that aren't before, a cycle,
    and a task with more cores than `limits` states. The second of the pair is empty: nothing is left out.
    """
    top = _json(data, file)
    reader = _Reader(file, limits.bad_rows)
    schema = top.get("schemaVersion")
    if schema not in SCHEMAS:
        found = "is missing" if schema is None else f"{_shown(schema)} isn't read"
        reader.wrong("schemaVersion", f"{found}; WfFormat {', '.join(SCHEMAS)} is")
        reader.check()
    workflow = reader.mapping(top, "", "workflow")
    specification = reader.mapping(workflow, "workflow", "specification")
    execution = reader.mapping(workflow, "workflow", "execution")  # optional in the schema; run times are in it
    reader.check()
    files = _files(reader, specification)
    before = reader.count_of
    tasks = _tasks(reader, specification)
    sound = reader.count_of == before
    ran = _ran(reader, execution)
    machines = _machines(reader, execution)
    makespan_us = reader.seconds_us(execution, "execution", "makespanInSeconds")
    jobs = tuple(_job(reader, task, ran, limits) for task in tasks)
    for unknown in sorted(set(ran) - {task.name for task in tasks}):
        reader.wrong(ran[unknown][0], f"{quoted(unknown)} is no task of the specification")
    if not tasks and not reader.problems:
        reader.wrong("specification.tasks", "is empty")
    if sound:  # what can't be read of a task would look like a hole in the graph
        for key, problem in problems_of(tasks, {f.name for f in files}):
            reader.wrong(key, problem)
    reader.check()
    notes = [f"it took {makespan_us / MICROS_PER_SECOND:.0f} s as it was measured, on {len(machines)} machines"]
    unsaid = unsaid_makers(tasks)
    if unsaid:
        notes.append(f"{unsaid} files are written by more than one task")
    return Trace(stem(file), SOURCE, LICENCE, jobs, tuple(notes), nodes=machines, files=files), ()


def _json(data: bytes, file: str) -> dict[str, object]:
    try:
        top: object = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise TraceError((BadRow(file, error.lineno, f"isn't JSON: {error.msg}"),)) from None
    except (ValueError, RecursionError) as error:
        raise TraceError((BadRow(file, 0, f"isn't JSON that can be read: {error}"),)) from None
    if not isinstance(top, dict):
        raise TraceError((BadRow(file, 0, "isn't a workflow: a mapping with schemaVersion and workflow is needed"),))
    return cast("dict[str, object]", top)


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no number of JSON")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{quoted(twice)} is there twice")
    return found


def _files(reader: _Reader, specification: dict[str, object]) -> tuple[TraceFile, ...]:
    found: dict[str, TraceFile] = {}
    for key, item in reader.mappings(specification, "specification", "files", needed=False):
        name = reader.text(item, key, "id")
        if name in found:
            reader.wrong(f"{key}.id", f"{quoted(name)} is there already")
        found[name] = TraceFile(name, reader.count(item, key, "sizeInBytes"))
    return tuple(found.values())


def _tasks(reader: _Reader, specification: dict[str, object]) -> list[Task]:
    found: list[Task] = []
    for key, item in reader.mappings(specification, "specification", "tasks"):
        children = reader.texts(item, key, "children", needed=True)
        parents = reader.texts(item, key, "parents", needed=True)
        reads = reader.texts(item, key, "inputFiles", needed=False)
        writes = reader.texts(item, key, "outputFiles", needed=False)
        found.append(Task(reader.text(item, key, "id"), key, parents, children, reads, writes))
    return found


def _ran(reader: _Reader, execution: dict[str, object]) -> dict[str, tuple[str, dict[str, object]]]:
    """What was measured of each task, with its key."""
    found: dict[str, tuple[str, dict[str, object]]] = {}
    for key, item in reader.mappings(execution, "execution", "tasks"):
        name = reader.text(item, key, "id")
        if name in found:
            reader.wrong(f"{key}.id", f"{quoted(name)} is there already")
        found[name] = (key, item)
    return {name: run for name, run in found.items() if name}


def _job(reader: _Reader, task: Task, ran: dict[str, tuple[str, dict[str, object]]], limits: Limits) -> TraceJob:
    key, run = ran.get(task.name, ("", {}))
    if not key:
        if task.name:
            reader.wrong(task.key, f"{quoted(task.name)} isn't among execution.tasks, so it has no run time")
        return TraceJob(task.name, TENANT, 0, None, Need())
    cores = reader.count(run, key, "coreCount", default=1) or 1
    if limits.job_cores and cores > limits.job_cores:
        reader.wrong(f"{key}.coreCount", f"asks for {cores} cores; the largest job stated is {limits.job_cores}")
    command = run.get("command")
    program = cast("dict[str, object]", command).get("program") if isinstance(command, dict) else None
    return TraceJob(
        task.name,
        TENANT,
        0,
        reader.seconds_us(run, key, "runtimeInSeconds"),
        Need(cores, reader.count(run, key, "memoryInBytes", default=0)),
        cpu_milli=cores * 1000,
        kind=program if isinstance(program, str) else "",
        parents=task.parents,
        reads=task.reads,
        writes=task.writes,
    )


def _machines(reader: _Reader, execution: dict[str, object]) -> tuple[TraceNode, ...]:
    found: list[TraceNode] = []
    for key, item in reader.mappings(execution, "execution", "machines", needed=False):
        cpu = item.get("cpu")
        cores = (
            reader.count(cast("dict[str, object]", cpu), f"{key}.cpu", "coreCount", default=0)
            if isinstance(cpu, dict)
            else 0
        )
        memory = reader.count(item, key, "memoryInBytes", default=0)
        found.append(TraceNode(reader.text(item, key, "nodeName"), cores * 1000, memory))
    return tuple(found)


def _shown(value: object) -> str:
    """A value as a message shows it; what holds others isn't spelt out, however deep it is."""
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else quoted(str(value))


def _not_a_count(value: object) -> str:
    if value is None:
        return "is missing; a whole number is needed"
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return f"{_shown(value)} is negative"
    return f"{_shown(value)} isn't a whole number"
