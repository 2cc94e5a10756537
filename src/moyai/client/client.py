"""`moyai.Client`: the whole API of one control plane, for programs."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from moyai.client.archive import Archive
from moyai.client.connection import Connection, Say, say_on_stderr
from moyai.client.handle import JobHandle
from moyai.client.job import Job
from moyai.client.local import directory
from moyai.model.events import Signal
from moyai.model.identity import AuthorityView, Revoked, TokenView
from moyai.model.lifecycle import JobState
from moyai.model.views import DatasetView, Health, JobPage, SiteStatus, Submitted, WhyView
from moyai.model.workflow_views import WorkflowRow, WorkflowSubmittedView

if TYPE_CHECKING:
    from moyai.client.workflow import WorkflowHandle
    from moyai.model.specs.job import JobSpec
    from moyai.model.specs.workflow import WorkflowSpec


class Client:
    """A connection to the control plane of a directory: $MOYAI_DIR or ~/.moyai where none is given.

    Where no server runs there, one is started and said so. Every call may raise MoyaiError; each is safe to repeat.
    """

    def __init__(self, dir: Path | str | None = None, *, start: bool = True, say: Say = say_on_stderr) -> None:
        """Connect. `start` False: never start a server. `say` is told before one is started, or keeps us waiting."""
        self.home = directory(dir)
        self._connection = Connection(self.home, start, say)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection up. Jobs go on."""
        self._connection.close()

    # jobs

    def run(
        self,
        job: "Job | JobSpec | Path | str",
        *,
        key: str = "",
        project: str = "",
        tenant: str = "",
        workdir: Archive | None = None,
    ) -> JobHandle:
        """Submit a job: a `Job`, or the path of a workload file.

        `key` is the idempotency key: the same key gives the same job, however often it is sent; one is made where none
        is given. `workdir` is the job's directory where it was packed before. Raises BadSpec or MoyaiError.
        """
        wanted = _job(job)
        archive = workdir or wanted.pack(exclude=(self.home,))
        if archive is not None:
            self._connection.raw("PUT", f"/v1/blobs/{archive.blob}", content=archive.data)
        body = _body(wanted, archive, project, tenant)
        submitted = self._connection.post("/v1/jobs", Submitted, body, key or uuid.uuid4().hex)
        return JobHandle(self._connection, submitted.job)

    def plan(
        self,
        job: "Job | JobSpec | Path | str",
        *,
        project: str = "",
        tenant: str = "",
        workdir: Archive | None = None,
    ) -> WhyView:
        """What would become of a job if it were submitted now. Nothing is submitted, and no file is sent."""
        return self._connection.post("/v1/plan", WhyView, _body(_job(job), workdir, project, tenant))

    def job(self, job: str) -> JobHandle:
        """A job by its id. Whether it exists shows at the first use."""
        return JobHandle(self._connection, job)

    def jobs(self, state: Sequence[JobState] = (), limit: int = 50, before: str = "") -> JobPage:
        """Jobs, newest first; of these states where any are given; `before` is what the page before said."""
        params: dict[str, str | int] = {"limit": limit}
        if state:
            params["state"] = ",".join(state)
        if before:
            params["before"] = before
        return self._connection.get("/v1/jobs", JobPage, params)

    # workflows

    def run_workflow(
        self,
        workflow: "WorkflowSpec | Path | str",
        *,
        key: str = "",
        project: str = "",
        tenant: str = "",
        workdir: Archive | None = None,
    ) -> "WorkflowHandle":
        """Submit a workflow: a spec that was read, or the path of its file. `key` and `workdir` as in `run`.

        Raises BadSpec or MoyaiError.
        """
        from moyai.client.workflow import WorkflowHandle, packed, read_workflow

        spec = read_workflow(Path(workflow)) if isinstance(workflow, Path | str) else workflow
        archive = workdir or packed(spec, (self.home,))
        if archive is not None:
            self._connection.raw("PUT", f"/v1/blobs/{archive.blob}", content=archive.data)
        body = _around(spec.to_data(), archive, project, tenant)
        submitted = self._connection.post("/v1/workflows", WorkflowSubmittedView, body, key or uuid.uuid4().hex)
        return WorkflowHandle(self._connection, submitted.workflow)

    def workflow(self, workflow: str) -> "WorkflowHandle":
        """A workflow by its id. Whether it exists shows at the first use."""
        from moyai.client.workflow import WorkflowHandle

        return WorkflowHandle(self._connection, workflow)

    def workflows(self, limit: int = 50) -> tuple[WorkflowRow, ...]:
        """Workflows, newest first."""
        return self._connection.get("/v1/workflows", tuple[WorkflowRow, ...], {"limit": limit})

    # sites

    def sites(self) -> tuple[SiteStatus, ...]:
        """Every site, by name."""
        return self._connection.get("/v1/sites", tuple[SiteStatus, ...])

    def drain(self, site: str) -> SiteStatus:
        """Place nothing new at a site; what runs there goes on."""
        return self._connection.post(f"/v1/sites/{quote(site, safe='')}/drain", SiteStatus)

    def resume(self, site: str) -> SiteStatus:
        """Lift a drain."""
        return self._connection.post(f"/v1/sites/{quote(site, safe='')}/resume", SiteStatus)

    def declare_dead(self, site: str) -> SiteStatus:
        """Give your word that nothing runs at a site any more: its jobs are placed elsewhere without waiting."""
        return self._connection.post(f"/v1/sites/{quote(site, safe='')}/dead", SiteStatus)

    def change_signal(self, site: str, signal: Signal, value: int) -> SiteStatus:
        """Tell an outside fact about a site: price (micro-yen per kWh), carbon (mg per kWh), power cap (W; 0: none)."""
        path = f"/v1/sites/{quote(site, safe='')}/signals/{signal}?value={value}"
        return self._connection.post(path, SiteStatus)

    # identity

    def new_token(self, site: str, lifetime_us: int) -> TokenView:
        """A token by which one agent of another machine may join as `site`, once. It is shown this one time."""
        path = f"/v1/sites/{quote(site, safe='')}/token?lifetime={lifetime_us}"
        return self._connection.post(path, TokenView)

    def certificates(self) -> AuthorityView:
        """The CA, the certificates that it issued, and the tokens that may still be used."""
        return self._connection.get("/v1/certificates", AuthorityView)

    def revoke(self, what: str) -> Revoked:
        """Take back one certificate by its serial number, or all of a site with its open tokens."""
        return self._connection.post(f"/v1/certificates/{quote(what, safe='')}/revoke", Revoked)

    # data

    def add_dataset(
        self,
        name: str,
        path: Path | str,
        *,
        site: str,
        version: int = 0,
        residency: Sequence[str] = (),
        purposes: Sequence[str] = (),
        key: str = "",
    ) -> DatasetView:
        """Name a directory that lies at a site as a dataset version (0: the next one).

        The site's agent hashes and keeps it.
        """
        body = {
            "name": name,
            "version": version,
            "site": site,
            "path": str(path),
            "residency": list(residency),
            "purposes": list(purposes),
        }
        return self._connection.post("/v1/datasets", DatasetView, body, key or uuid.uuid4().hex)

    def datasets(self) -> tuple[DatasetView, ...]:
        """Every version of every dataset."""
        return self._connection.get("/v1/datasets", tuple[DatasetView, ...])

    def health(self) -> Health:
        """What the server says of itself."""
        return self._connection.get("/v1/health", Health)


def _job(job: "Job | JobSpec | Path | str") -> Job:
    if isinstance(job, Job):
        return job
    if isinstance(job, Path | str):
        return Job.from_file(job)
    return Job.of(job)


def _body(job: Job, archive: Archive | None, project: str, tenant: str) -> dict[str, object]:
    return _around(job.spec.to_data(), archive, project, tenant)


def _around(spec: dict[str, object], archive: Archive | None, project: str, tenant: str) -> dict[str, object]:
    body: dict[str, object] = {"spec": spec}
    if archive is not None:
        body["workdir"] = archive.blob
        body["workdir_bytes"] = archive.size_bytes
    return body | {key: value for key, value in (("project", project), ("tenant", tenant)) if value}
