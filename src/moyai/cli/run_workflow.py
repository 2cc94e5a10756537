"""`moyai run` of a workflow file: submit it, and tell of its tasks as they go; Ctrl-C leaves it running."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from moyai.cli.common import connect
from moyai.cli.output import note, print_json
from moyai.locale import t

if TYPE_CHECKING:
    from moyai.client.workflow import WorkflowHandle
    from moyai.model.workflow_views import TaskView, WorkflowView

FAILED, NO_END = 1, 3
"""Exit codes: a task failed; the workflow was cancelled."""


def is_workflow(file: Path) -> bool:
    """Whether a file declares tasks. One that can't be read is none: who reads it as a job says what is wrong."""
    from moyai.model.specs.problems import SpecError
    from moyai.model.specs.read import read_file

    try:
        return "tasks" in read_file(file).data
    except SpecError:
        return False


def run_workflow(file: Path, *, detach: bool, project: str, home: Path | None, as_json: bool) -> None:
    """Run the workflow in `file`, and leave with 0 where every task succeeded."""
    import uuid

    from moyai.client.local import directory
    from moyai.client.workflow import packed, read_workflow
    from moyai.model.lifecycle import WorkflowState

    spec = read_workflow(file)
    archive = packed(spec, (directory(home),))
    with connect(home) as client:
        handle = client.run_workflow(spec, key=uuid.uuid4().hex, project=project, workdir=archive)
        note(t("cli.workflow.submitted", workflow=handle.id, tasks=len(spec.tasks)))
        if detach:
            _detached(handle, as_json)
            return
        try:
            ended = handle.wait() if as_json else _follow(handle)
        except KeyboardInterrupt:
            _detached(handle, as_json)
            return
    if as_json:
        print_json(ended)
    else:
        note(_summary(ended))
    codes = {WorkflowState.SUCCEEDED: 0, WorkflowState.FAILED: FAILED}
    raise typer.Exit(codes.get(ended.state, NO_END))


def _follow(handle: "WorkflowHandle") -> "WorkflowView":
    """Print a line whenever a task is somewhere else. Returns the last view."""
    said: dict[str, str] = {}
    last = None
    for last in handle.follow():
        for task in last.tasks:
            line = _line(task)
            if line and said.get(task.task) != line:
                said[task.task] = line
                note(line)
    assert last is not None, "a workflow is followed to its end, and the end is a view"
    return last


def _line(task: "TaskView") -> str:
    """Where a task stands; "" while it waits and nobody need know."""
    from moyai.cli.rows import words
    from moyai.model.lifecycle import JobState

    match task.state:
        case JobState.PENDING:
            return ""
        case JobState.ACTIVE | JobState.CANCELLING:
            return t("cli.workflow.goes", task=task.task, site=task.site)
        case JobState.SUCCEEDED:
            return t("cli.workflow.done", task=task.task, site=task.site, job=task.job)
        case JobState.FAILED | JobState.CANCELLED:
            why = words(task.reason) if task.reason else ""
            return t("cli.workflow.ended", task=task.task, state=t(f"job.{task.state}"), why=why, job=task.job)


def _summary(view: "WorkflowView") -> str:
    from moyai.cli.rows import words
    from moyai.model.lifecycle import JobState, WorkflowState

    took = (view.ended_at or view.submitted_at) - view.submitted_at
    return t(
        "cli.workflow.summary",
        workflow=view.workflow,
        state=t(f"workflow.{view.state}"),
        why=f" ({words(view.reason)})" if view.reason and view.state is not WorkflowState.SUCCEEDED else "",
        done=sum(task.state is JobState.SUCCEEDED for task in view.tasks),
        tasks=len(view.tasks),
        took=took,
        moved=view.moved_bytes,
        cost=view.cost_micro_yen,
    )


def _detached(handle: "WorkflowHandle", as_json: bool) -> None:
    if as_json:
        print_json({"workflow": handle.id, "detached": True})
    else:
        note(t("cli.workflow.detached", workflow=handle.id))
