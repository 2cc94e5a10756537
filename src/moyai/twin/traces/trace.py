"""A trace: what people really asked of some cluster, as a loader found it, and what of it couldn't be taken."""

from dataclasses import dataclass, replace

from moyai.model.ids import TenantName
from moyai.model.specs.problems import printable
from moyai.model.units import Instant
from moyai.model.workload import Need

ANY_GPU = "gpu"
"""The accelerator of a job whose trace names no type, or several. Who builds a scenario puts a type in its place."""
NODE_GPUS = 8
"""GPUs of one node, where a trace gives a job's GPUs but not its nodes (planner.md: gangs are whole nodes)."""
SHOWN = 40
"""Bad rows that a TraceError words; the rest is counted."""


@dataclass(frozen=True, slots=True)
class TraceJob:
    """One job of a trace. What the trace doesn't say has its default: nothing is guessed."""

    name: str  # unique in its trace; as the source names it, or made of its line
    tenant: TenantName
    submitted_us: int  # from the trace's start
    run_us: int | None  # None: the trace doesn't say, or it never ran
    need: Need  # of one node
    nodes: int = 1  # of a gang
    gpu_milli: int = 0  # thousandths of a GPU, on all its nodes together, as the trace has it; a gang may hold more
    cpu_milli: int = 0  # thousandths of a core, on all its nodes together; 0: not said
    models: tuple[str, ...] = ()  # the accelerator types that it may have; empty: any
    site: str = ""  # where it ran
    user: str = ""  # who asked for it, as far as the source tells
    kind: str = ""  # what recurs: an application, a program, a class of service
    expect_us: int = 0  # its user's estimate; 0: none
    steps: int = 0  # training steps, where the source counts its work in them
    parents: tuple[str, ...] = ()  # names of the jobs that must have ended before it
    reads: tuple[str, ...] = ()  # names of files
    writes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TraceNode:
    """One node of the cluster that a trace comes from."""

    name: str
    cpu_milli: int  # thousandths of a core
    memory_bytes: int  # 0: not said
    accelerator: str = ""
    accelerators: int = 0


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A file that a workflow's jobs read or write."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request to a language model."""

    at_us: int  # from the trace's start
    context_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True)
class Trace:
    """What a loader took from one file."""

    name: str  # of the file, without its folder and endings
    source: str  # where it comes from; cited wherever a figure of it is shown
    licence: str
    jobs: tuple[TraceJob, ...] = ()  # by time of submission, then as in the file
    notes: tuple[str, ...] = ()  # what who shows a figure must know
    began: Instant | None = None  # of time 0; None: the source gives no time zone, or no date
    sites: tuple[str, ...] = ()  # every site that the source names, also those where nothing ran
    nodes: tuple[TraceNode, ...] = ()
    files: tuple[TraceFile, ...] = ()
    requests: tuple[TraceRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that couldn't be taken, or a whole file (line 0)."""

    file: str
    line: int  # from 1; 0: the file, or a place that `problem` names by its key
    problem: str

    def __str__(self) -> str:
        return (
            f"{printable(self.file)}:{self.line}: {self.problem}"
            if self.line
            else f"{printable(self.file)}: {self.problem}"
        )


class TraceError(Exception):
    """A trace that can't be used. Printed, it is one line for each problem, in the order found."""

    def __init__(self, rows: tuple[BadRow, ...]) -> None:
        if not rows:
            raise ValueError("a TraceError needs a bad row")
        super().__init__(rows)
        self.rows = rows

    def __str__(self) -> str:
        lines = [str(row) for row in self.rows[:SHOWN]]
        more = len(self.rows) - SHOWN
        return "\n".join([*lines, f"and {more} more"] if more > 0 else lines)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a reading, and the largest job that who reads wants to see."""

    rows: int = 5_000_000  # the reading stops there, and says so
    bad_rows: int = 1_000  # kept; what goes beyond is counted
    job_gpus: int = 0  # a job that asks for more is a bad row; 0: no bound
    job_cores: int = 0  # the same for cores (SWF: processors)


def gang(gpus: int) -> tuple[int, int]:
    """The nodes and the GPUs of each node for a job of `gpus` GPUs: a part of one node, or whole nodes of NODE_GPUS.

    12 GPUs are two whole nodes: more than asked for, as whole-node gangs are placed. Source: planner.md, "Node level".
    """
    return (1, gpus) if gpus <= NODE_GPUS else (-(-gpus // NODE_GPUS), NODE_GPUS)


def with_accelerator(trace: Trace, name: str) -> Trace:
    """The trace with accelerators of type `name` wherever it asks for ANY_GPU, and no other job changed."""
    needs: dict[Need, Need] = {}
    jobs: list[TraceJob] = []
    for job in trace.jobs:
        if job.need.accelerator == ANY_GPU:
            need = needs.get(job.need)
            if need is None:
                need = needs[job.need] = replace(job.need, accelerator=name)
            jobs.append(replace(job, need=need))
        else:
            jobs.append(job)
    return replace(trace, jobs=tuple(jobs))
