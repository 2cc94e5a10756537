"""Slurm's own nouns, the same whichever way it is spoken to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SlurmOrder:
    """A job as Slurm is asked for it. Sizes are of one node; 0 and "" leave a thing to the cluster."""

    name: str  # the attempt's id; its comment too
    user: str
    script: str
    directory: str
    output: str
    nodes: int
    tasks: int
    tasks_per_node: int
    cpus_per_task: int
    memory_mib: int
    gres: str
    limit_minutes: int
    partition: str
    constraint: str
    signal: str  # "TERM@60": that long before the limit
    environment: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """A job as Slurm tells it."""

    number: str
    name: str
    user: str
    state: str  # "RUNNING", "NODE_FAIL", …
    directory: str
    exit_status: int  # the raw wait status of its script; −1 where it isn't known
    detail: str = ""  # why it waits, or why it ended
    nodes: str = ""
    preempted: bool = False
    run_us: int = 0
    cpu_us: int = 0
    cpus: int = 0  # on all its nodes together
    touched_s: int = 0  # of the cluster's clock: the newest time that it bears; 0 where none is told


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """A node as Slurm tells it."""

    name: str
    state: str  # lower case, flags after "+": "idle+drain"
    partitions: tuple[str, ...]
    features: tuple[str, ...]
    gres: str  # "gpu:h100:4(S:0),…"
    cpus: int
    memory_mib: int


class SlurmLink(Protocol):
    """A way to speak to Slurm."""

    @property
    def title(self) -> str:
        """Which way to which cluster."""
        ...

    async def open(self) -> None:
        """See that it is what is known here. Raises EngineDown, SchedulerDown."""
        ...

    async def submit(self, order: SlurmOrder) -> str:
        """Returns the job's number. Raises Refused, SchedulerDown."""
        ...

    async def jobs(self) -> Sequence[SlurmJob] | None:
        """All jobs; None where nothing changed since they were last listed here. Raises SchedulerDown."""
        ...

    async def cancel(self, number: str, user: str) -> None:
        """Kill a job of that user; one that is over is no error. Raises SchedulerDown."""
        ...

    async def nodes(self) -> Sequence[SlurmNode]:
        """All nodes. Raises SchedulerDown."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...
