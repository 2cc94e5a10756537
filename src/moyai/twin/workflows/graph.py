"""A workflow of a trace as tasks and bundles of files, ready to be submitted.

Files that one task writes, and that the same tasks read, always lie and move together: they are one bundle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moyai.model.ids import DatasetName
from moyai.model.workflow import TaskOrder, in_order
from moyai.model.workload import DataUse, JobOrder
from moyai.twin.traces.trace import BadRow, Trace, TraceError, TraceJob


@dataclass(frozen=True, slots=True)
class Bundle:
    """Files that go together. `maker` is "" for files from outside."""

    name: str
    maker: str
    readers: tuple[str, ...]
    size_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow: its tasks as the trace has them, what each waits for by index, and its bundles."""

    name: str
    tasks: tuple[TraceJob, ...]
    parents: tuple[tuple[int, ...], ...]
    bundles: tuple[Bundle, ...]

    @property
    def outside(self) -> tuple[Bundle, ...]:
        """What comes from outside of the workflow."""
        return tuple(b for b in self.bundles if not b.maker)

    def reads(self) -> Mapping[str, list[Bundle]]:
        """The bundles that each task reads."""
        found: dict[str, list[Bundle]] = {task.name: [] for task in self.tasks}
        for bundle in self.bundles:
            for reader in bundle.readers:
                found[reader].append(bundle)
        return found

    def writes(self) -> Mapping[str, list[Bundle]]:
        """The bundles that each task writes."""
        found: dict[str, list[Bundle]] = {task.name: [] for task in self.tasks}
        for bundle in self.bundles:
            if bundle.maker:
                found[bundle.maker].append(bundle)
        return found


def graph_of(trace: Trace) -> Graph:
    """The graph of a workflow trace.

    Raises TraceError: a task without a run time, a file that several tasks write, or that a task both reads and writes.
    """
    wrong: list[str] = []
    sizes = {file.name: file.size_bytes for file in trace.files}
    maker: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    for job in trace.jobs:
        if job.run_us is None:
            wrong.append(f"{job.name} has no run time")
        for file in job.writes:
            if file in maker:
                wrong.append(f"{file} is written by {maker[file]} and by {job.name}")
            maker[file] = job.name
        for file in job.reads:
            readers.setdefault(file, []).append(job.name)
            if file in job.writes:
                wrong.append(f"{job.name} reads and writes {file}")
    if wrong:
        raise TraceError(tuple(BadRow(trace.name, 0, problem) for problem in wrong))
    index = {job.name: i for i, job in enumerate(trace.jobs)}
    parents = tuple(tuple(sorted({index[p] for p in job.parents})) for job in trace.jobs)
    used = [file for file in sizes if file in maker or file in readers]
    return Graph(trace.name, trace.jobs, parents, _bundles(used, sizes, maker, readers))


def _bundles(
    files: Sequence[str], sizes: Mapping[str, int], maker: Mapping[str, str], readers: Mapping[str, list[str]]
) -> tuple[Bundle, ...]:
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for file in files:
        groups.setdefault((maker.get(file, ""), tuple(readers.get(file, ()))), []).append(file)
    return tuple(
        Bundle(f"f{number:05d}", made_by, read_by, sum(sizes[f] for f in group), len(group))
        for number, ((made_by, read_by), group) in enumerate(groups.items())
    )


def task_orders(graph: Graph, prefix: str) -> tuple[TaskOrder, ...]:
    """The tasks as they are submitted. What comes from outside is the dataset `<prefix>-<bundle>`, version 1.

    The run time is told as it was: a policy's figures are without errors of estimates.
    """
    reads, writes = graph.reads(), graph.writes()
    found: list[TaskOrder] = []
    for number, task in enumerate(graph.tasks):
        files = [b.name for b in reads[task.name] if b.maker]
        through = {b.maker for b in reads[task.name] if b.maker}
        order = JobOrder(
            name=task.name,
            need=task.need,
            expect_us=task.run_us or 1,
            data=tuple(DataUse(dataset_of(prefix, b), 1) for b in reads[task.name] if not b.maker),
        )
        after = tuple(graph.tasks[p].name for p in graph.parents[number] if graph.tasks[p].name not in through)
        results = tuple(b.name for b in writes[task.name] if not b.readers)
        found.append(TaskOrder(order, after, tuple(files), tuple(b.name for b in writes[task.name]), results))
    return tuple(found)


def dataset_of(prefix: str, bundle: Bundle) -> DatasetName:
    """The dataset that a bundle from outside is."""
    return DatasetName(f"{prefix}-{bundle.name}")


def critical_path_us(graph: Graph, begin_us: Mapping[str, int] | None = None) -> int:
    """The longest chain of run times; a task starts at `begin_us` at the earliest, where that is given."""
    ends = [0] * len(graph.tasks)
    for number in in_order(graph.parents):
        task = graph.tasks[number]
        start = max((ends[p] for p in graph.parents[number]), default=0)
        ends[number] = max(start, (begin_us or {}).get(task.name, 0)) + (task.run_us or 0)
    return max(ends, default=0)
