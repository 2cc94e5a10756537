"""Where the tasks of workflows stand: an index over the state, kept by `apply`, and the same when built anew.

A task waits until every task before it has succeeded; only then does the planner see its job. A file is needed while a
task that reads it isn't over, or for good where it is to be kept.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from moyai.model.ids import DatasetName, JobId, ManifestId, WorkflowId
from moyai.model.lifecycle import JOB_ENDED, WORKFLOW_ENDED, JobState
from moyai.model.workflow import FILE_VERSION, Task

if TYPE_CHECKING:
    from moyai.control.state import Dataset, State, Workflow


def file_key(dataset: DatasetName) -> str:
    """The key of a file among the datasets of the state."""
    return f"{dataset}@{FILE_VERSION}"


class Flows:
    """Counts over the open workflows, and what nobody needs any more.

    `unmet`      tasks that a waiting task still waits for; without an entry it waits for none
    `behind`     the tasks that wait for a task to succeed
    `readers`    tasks not over that read a file, by the file's key
    `left`       tasks of a workflow that are not over
    `users`      dataset versions that need a manifest
    `loose`      manifests of files that no task needs any more, until no site holds them
    `touched`    tasks that ended since the consequences were drawn last
    """

    __slots__ = ("behind", "left", "loose", "readers", "touched", "unmet", "users")

    def __init__(self, state: "State") -> None:
        self.unmet: dict[JobId, int] = {}
        self.behind: dict[JobId, list[JobId]] = {}
        self.readers: dict[str, int] = {}
        self.left: dict[WorkflowId, int] = {}
        self.users: dict[ManifestId, int] = {}
        self.loose: dict[ManifestId, None] = {}
        self.touched: dict[JobId, None] = {}
        for workflow in sorted(state.workflows.values(), key=lambda w: w.submitted_seq):
            if workflow.state not in WORKFLOW_ENDED:
                self.open(state, workflow)
        for dataset in state.datasets.values():
            if dataset.manifest is not None and self.needs(dataset):
                self.use(dataset.manifest)
        if state.workflows:
            saved = {c.manifest for job in state.jobs.values() for c in job.checkpoints}
            unused = [m for m in sorted(state.manifests) if m not in self.users and m not in saved]
            self.loose.update(dict.fromkeys(unused))

    @property
    def due(self) -> bool:
        """Whether something may have to follow."""
        return bool(self.touched or self.loose)

    def needs(self, dataset: "Dataset") -> bool:
        """Whether a dataset version is to stay."""
        return dataset.keep or self.readers.get(file_key(dataset.profile.name), 0) > 0

    def use(self, manifest: ManifestId) -> None:
        """One more dataset version needs a manifest."""
        self.users[manifest] = self.users.get(manifest, 0) + 1
        self.loose.pop(manifest, None)

    def let_go(self, manifest: ManifestId) -> None:
        """One less does."""
        left = self.users[manifest] - 1
        if left:
            self.users[manifest] = left
        else:
            del self.users[manifest]
            self.loose[manifest] = None

    def open(self, state: "State", workflow: "Workflow") -> None:
        """A workflow came, or is there already when the index is built."""
        jobs = {task.name: task.job for task in workflow.tasks}
        made = {file.name: (task.job, file.dataset) for task in workflow.tasks for file in task.writes}
        self.left[workflow.workflow] = 0
        for task in workflow.tasks:
            where = state.jobs[task.job].state if task.job in state.jobs else JobState.PENDING
            if where in JOB_ENDED:
                self.touched[task.job] = None
            else:
                self.left[workflow.workflow] += 1
                for file in task.reads:
                    key = file_key(made[file][1])
                    self.readers[key] = self.readers.get(key, 0) + 1
            for before in dict.fromkeys([*(jobs[n] for n in task.after), *(made[f][0] for f in task.reads)]):
                self.behind.setdefault(before, []).append(task.job)
                done = before in state.jobs and state.jobs[before].state is JobState.SUCCEEDED
                if not done and where not in JOB_ENDED:
                    self.unmet[task.job] = self.unmet.get(task.job, 0) + 1

    def close(self, workflow: "Workflow") -> None:
        """A workflow is over."""
        for task in workflow.tasks:
            self.behind.pop(task.job, None)
            self.touched.pop(task.job, None)
        del self.left[workflow.workflow]

    def stored(self, dataset: "Dataset", manifest: ManifestId) -> None:
        """A file lies somewhere as `manifest`, perhaps in place of what it was. `dataset` has the old one still."""
        needed = self.needs(dataset)
        if needed:
            self.use(manifest)
        elif manifest not in self.users:
            self.loose[manifest] = None
        if dataset.manifest is not None and needed:
            self.let_go(dataset.manifest)

    def ended(self, state: "State", workflow: WorkflowId, task: Task, *, well: bool) -> Iterable[JobId]:
        """A task is over: the jobs that wait for nothing any more now, if it ended well."""
        self.left[workflow] -= 1
        self.touched[task.job] = None
        self.unmet.pop(task.job, None)
        free: list[JobId] = []
        for child in self.behind.get(task.job, ()) if well else ():
            if child in self.unmet:
                self.unmet[child] -= 1
                if not self.unmet[child]:
                    del self.unmet[child]
                    free.append(child)
        for name in task.reads:
            self._read(state, file_key(DatasetName(f"{workflow}.{name}")))
        return free

    def _read(self, state: "State", key: str) -> None:
        self.readers[key] -= 1
        if self.readers[key]:
            return
        del self.readers[key]
        dataset = state.datasets[key]
        if dataset.manifest is not None and not dataset.keep:
            self.let_go(dataset.manifest)
