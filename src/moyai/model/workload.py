"""Workloads as they stand in the log: what a person declared, resolved, in integers.

A workflow's tasks are jobs; its graph is an event of its own beside theirs (`moyai.model.workflow`). A service will
be another, with an order type of its own; no record that exists changes for it.
"""

from dataclasses import dataclass
from enum import StrEnum

from moyai.model.ids import BlobId, DatasetName
from moyai.model.units import Instant


class OnPartition(StrEnum):
    """What becomes of an attempt whose site can't be reached."""

    STOP = "stop"  # its guard stops it; another attempt may start after the lease
    WAIT = "wait"  # nothing starts until its end is reported or an operator gives his word


@dataclass(frozen=True, slots=True)
class Need:
    """What one node of a job must have. A maximum of 0 means no upper bound."""

    cores: int = 1
    memory_bytes: int = 0
    accelerator: str = ""  # "" for none; a count without a type is not asked for
    accelerators: int = 0


@dataclass(frozen=True, slots=True)
class DataUse:
    """A dataset that a job reads. Version 0 is resolved to the newest at submission."""

    dataset: DatasetName
    version: int
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class CheckpointRule:
    """How a job keeps its progress: the signal that asks for a checkpoint, the one that asks it to stop."""

    checkpoint_signal: str = "SIGUSR1"
    stop_signal: str = "SIGTERM"
    grace_us: int = 60_000_000


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job as declared, without its tenant's text (see `JobText`)."""

    name: str
    need: Need
    nodes: int = 1
    priority: int = 0  # −100 … 100; higher first
    deadline: Instant | None = None
    expect_us: int = 0  # the user's estimate of its run time; 0: none
    limit_us: int = 0  # it is stopped after that; 0: no limit
    retries: int = 0  # how many failures of its own are tried again
    residency: tuple[str, ...] = ()
    data: tuple[DataUse, ...] = ()
    checkpoint: CheckpointRule | None = None
    on_partition: OnPartition = OnPartition.STOP
    grace_us: int = 10_000_000  # between the stop signal and the kill, where no checkpoint rule says more
    workdir: BlobId | None = None  # the code that travels with it
    workdir_bytes: int = 0
    capabilities: tuple[str, ...] = ()  # what an engine must have for it: "mounts" where a path is absolute


@dataclass(frozen=True, slots=True)
class JobText:
    """The words of a tenant in a job: never in the log, which holds their keyed hash alone."""

    run: str
    setup: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()  # (dataset, path), in the order of JobOrder.data
    checkpoint_path: str = ""
    files: tuple[tuple[str, str], ...] = ()  # of a workflow's task: (file that it writes, path in its directory)


@dataclass(frozen=True, slots=True)
class DatasetProfile:
    """A named, versioned dataset and the rules that travel with it."""

    name: DatasetName
    version: int
    residency: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()  # empty: any


@dataclass(frozen=True, slots=True)
class DatasetText:
    """The words of a tenant in a dataset's registration: where it lies at its site. Sealed like `JobText`."""

    path: str
