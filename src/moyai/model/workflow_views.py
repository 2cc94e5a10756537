"""What the HTTP API answers about workflows, in integers with units in their names, as `moyai.model.views` does."""

from dataclasses import dataclass

from moyai.model.lifecycle import JobState, WorkflowState
from moyai.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class FileView:
    """A file of a workflow. It is a dataset version, too."""

    file: str
    dataset: str
    keep: bool  # stays when no task needs it any more
    size_bytes: int
    sites: tuple[str, ...]  # within reach that hold it
    residency: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task. Everything else about it is at its job."""

    task: str
    job: str
    state: JobState
    reason: Reason | None  # why it waits, or how it ended
    site: str  # of its newest attempt; "" before the first
    after: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[FileView, ...]
    started_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class WorkflowView:
    """A workflow with its tasks, in the order of its file."""

    workflow: str
    name: str
    tenant: str
    project: str
    actor: str
    state: WorkflowState
    reason: Reason | None  # of its end
    submitted_at: int
    ended_at: int | None
    cost_micro_yen: int  # of all its jobs, egress included
    energy_j: int
    carbon_mg: int
    moved_bytes: int
    tasks: tuple[TaskView, ...]


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """A workflow in a list."""

    workflow: str
    name: str
    state: WorkflowState
    submitted_at: int
    ended_at: int | None
    tasks: int
    tasks_ended: int


@dataclass(frozen=True, slots=True)
class WorkflowSubmittedView:
    """The answer to a submission, and to each repetition of it with the same key."""

    workflow: str
    created: bool  # False: this key had submitted it already
