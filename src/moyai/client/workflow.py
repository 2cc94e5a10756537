"""A workflow that was submitted: look at it, wait for it, end it."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from moyai.client.archive import Archive, pack
from moyai.client.connection import Connection
from moyai.client.errors import BadSpec, MoyaiError
from moyai.model.lifecycle import WORKFLOW_ENDED
from moyai.model.specs.problems import SpecError
from moyai.model.specs.workflow import WorkflowSpec
from moyai.model.workflow_views import WorkflowView

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class WorkflowHandle:
    """A workflow by its id. Whether it exists shows at the first use."""

    def __init__(self, connection: Connection, workflow: str) -> None:
        """A handle on the workflow of that id."""
        self.id = workflow
        self._connection = connection
        self._path = f"/v1/workflows/{quote(workflow, safe='')}"

    def __repr__(self) -> str:
        return f"WorkflowHandle({self.id!r})"

    def view(self) -> WorkflowView:
        """Everything about it now."""
        return self._connection.get(self._path, WorkflowView)

    def cancel(self) -> WorkflowView:
        """Ask for its end and that of all its tasks."""
        return self._connection.post(f"{self._path}/cancel", WorkflowView)

    def follow(self) -> Iterator[WorkflowView]:
        """A view whenever something about it changed, the last one when it is over."""
        last, pause = None, _FIRST_PAUSE_S
        while True:
            view = self.view()
            if view != last:
                last, pause = view, _FIRST_PAUSE_S
                yield view
            if view.state in WORKFLOW_ENDED:
                return
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_S)

    def wait(self, timeout: float | None = None) -> WorkflowView:
        """Wait for its end; `timeout` in seconds, None: as long as it takes. Raises MoyaiError "timeout"."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE_S
        while (view := self.view()).state not in WORKFLOW_ENDED:
            if deadline is not None and time.monotonic() + pause > deadline:
                raise MoyaiError("timeout", f"{self.id} is still {view.state} after {timeout:g} s")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_S)
        return view


def read_workflow(path: Path) -> WorkflowSpec:
    """The workflow in a file. Raises BadSpec with every problem, each with its line."""
    try:
        return WorkflowSpec.from_file(path)
    except SpecError as error:
        raise BadSpec(error.problems, str(error)) from None


def packed(spec: WorkflowSpec, exclude: tuple[Path, ...] = ()) -> Archive | None:
    """The archive of the directory that travels with the tasks; None where none does. Raises MoyaiError as `pack`."""
    if spec.workdir is None:
        return None
    file = spec.source.file
    return pack((Path(file).parent if file else Path()) / Path(spec.workdir).expanduser(), exclude)
