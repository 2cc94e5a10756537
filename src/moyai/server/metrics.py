"""The figures of the control plane for Prometheus: counted as events become durable, looked up when they are asked for.

The look is taken on the loop and is short; the text is made of it in a thread. No label is a job, tenants are bounded,
and the rest is as large as the fleet. docs/metrics.md says what each figure means.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from moyai.agent.scrape import MakePage, Page
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.ids import AttemptId, SiteName, TenantName
from moyai.model.views import Health, Mode
from moyai.server.gauges import Looked, Tenants, families, look, of_standby
from moyai.server.routes_log import health_of
from moyai.server.writer import NotStored

if TYPE_CHECKING:
    from moyai.control.state import Attempt, State
    from moyai.server.shell import Shell

MICROS = 1_000_000
J_PER_KWH = 3_600_000
APPEND_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
PLAN_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAIT_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0)
LAG_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0)
LOST = "lost"

_LOG = logging.getLogger("moyai.server")


class ControlMetrics:
    """All figures of one control plane, in a registry of its own."""

    def __init__(self, shell: "Shell") -> None:
        """Count from now on: hang on to the writer and the planner of `shell`."""
        self._shell = shell
        self._tenants = Tenants()
        self._seen: Looked | None = None
        self._lost: dict[AttemptId, tuple[int, int, int]] = {}  # what was counted of lost attempts
        disable_created_metrics()  # a series beside each counter that nobody reads
        self.registry = registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(self)
        self._issued = Counter("moyai_attempts_issued", "Attempts issued to a site.", ["site"], registry=registry)
        self._ended = Counter(
            "moyai_attempts_ended", "Attempts that are over, by how they ended.", ["site", "outcome"], registry=registry
        )
        self._requeued = Counter("moyai_jobs_requeued", "Jobs that wait again after an attempt.", registry=registry)
        self._sites_lost = Counter("moyai_site_losses", "How often a site was lost.", ["site"], registry=registry)
        self._refused = Counter(
            "moyai_reports_refused", "Reports of a site that could not be.", ["site"], registry=registry
        )
        self._moved = Counter("moyai_moved_bytes", "Bytes moved between sites.", registry=registry)
        self._yen = Counter("moyai_cost_yen", "Cost of attempts that are over.", ["tenant"], registry=registry)
        self._kwh = Counter("moyai_energy_kwh", "Energy of attempts that are over.", ["tenant"], registry=registry)
        self._kg = Counter("moyai_carbon_kg", "Carbon of attempts that are over.", ["tenant"], registry=registry)
        self._append = Histogram(
            "moyai_log_append_seconds", "Time to make a group of events durable.", buckets=APPEND_S, registry=registry
        )
        self._plan = Histogram("moyai_plan_seconds", "Time to make a plan.", buckets=PLAN_S, registry=registry)
        self._wait = Histogram(
            "moyai_queue_wait_seconds", "From submission to first start.", buckets=WAIT_S, registry=registry
        )
        self._lag = Histogram(
            "moyai_exchange_lag_seconds",
            "From a fact at a site, by its clock, to the log.",
            ["site"],
            buckets=LAG_S,
            registry=registry,
        )
        shell.writer.on_durable.append(self.grown)
        shell.writer.on_append.append(self._append.observe)
        shell.planner.on_plan.append(self._plan.observe)

    # -- counting --------------------------------------------------------------------------------------------------

    def grown(self, records: Sequence[Record]) -> None:
        """Events are durable: count them. The state may be ahead of them; what is looked up there is final."""
        state = self._shell.writer.control.state
        for record in records:
            self._count(state, record)

    def _count(self, state: "State", record: Record) -> None:
        body = record.body
        if record.reported_at is not None:
            site = record.request.partition("/")[0]
            if SiteName(site) in state.sites:
                self._lag.labels(site).observe(max(0, record.recorded_at - record.reported_at) / MICROS)
        match body:
            case e.AttemptIssued():
                self._issued.labels(body.placement.site).inc()
            case e.AttemptStarted():
                self._started(state, body.attempt, record)
            case e.AttemptEnded():
                self._over(state, body.attempt, record.tenant, body.outcome.value)
            case e.AttemptLost():
                self._over(state, body.attempt, record.tenant, LOST)
            case e.JobRequeued():
                self._requeued.inc()
            case e.SiteLost():
                self._sites_lost.labels(body.site).inc()
            case e.ReportRefused():
                self._refused.labels(body.site).inc()
            case e.TransferEnded():
                self._moved.inc(body.moved_bytes)
            case _:
                pass

    def _started(self, state: "State", attempt_id: AttemptId, record: Record) -> None:
        attempt = state.attempts.get(attempt_id)
        if attempt is not None and attempt.ordinal == 1:  # a later one waited for other reasons than the queue
            submitted = state.jobs[attempt.job].submitted_at
            self._wait.observe(max(0, record.recorded_at - submitted) / MICROS)

    def _over(self, state: "State", attempt_id: AttemptId, tenant: TenantName, outcome: str) -> None:
        attempt = state.attempts.get(attempt_id)
        if attempt is None:
            return
        self._ended.labels(attempt.site, outcome).inc()
        used = _used(attempt)
        before = self._lost.pop(attempt_id, (0, 0, 0))  # a late report settles what a lost one used
        if outcome == LOST:
            self._lost[attempt_id] = used
        name = self._tenants.name(tenant)
        for counter, now, was, unit in zip(
            (self._yen, self._kwh, self._kg), used, before, (MICROS, J_PER_KWH, MICROS), strict=True
        ):
            counter.labels(name).inc(max(0, now - was) / unit)  # a counter never goes back

    def pages(self) -> dict[str, MakePage]:
        """What those who watch it may get, by path."""
        return {"/metrics": self.page, "/healthz": self.health}

    # -- showing ---------------------------------------------------------------------------------------------------

    def collect(self) -> list[Metric]:
        """What the registry asks for: the newest look, as families."""
        return list(families(self._seen)) if self._seen is not None else []

    async def page(self, accept: str = "") -> Page:
        """Every figure as it stands now, as OpenMetrics where `accept` asks for that, else as Prometheus' text."""
        shell = self._shell
        try:
            control = await shell.writer.loaded()
        except NotStored as error:
            return Page(f"no figures: {error.problem}\n".encode(), status=503)
        seen, jobs = look(shell, control), control.state.jobs

        def made() -> Page:
            """The text, in a thread."""
            self._seen = seen.finished(jobs, self._tenants, _disk_free(shell))
            encode, kind = choose_encoder(accept)
            return Page(encode(self.registry), kind)

        return await shell.in_thread(made)

    async def health(self, accept: str = "") -> Page:
        """Whether it takes requests now: 200, else 503, each with a line that says why. For load balancers."""
        return health_page(health_of(self._shell))


def metrics_routes(metrics: ControlMetrics) -> list[Route]:
    """The same pages behind the gate; not part of the API for people."""

    def route(path: str, make: MakePage) -> Route:
        async def answer(request: Request) -> Response:
            """The page, as the framework wants it."""
            page = await make(request.headers.get("accept", ""))
            return Response(page.body, page.status, {"Cache-Control": "no-store"}, page.kind)

        return Route(path, answer, methods=["GET"])

    return [route(path, make) for path, make in metrics.pages().items()]


def health_page(health: Health) -> Page:
    """Whether requests are taken, for a load balancer."""
    if health.mode is Mode.WRITING:
        return Page(b"ok\n")
    return Page(f"{health.mode.value}: {health.problem}\n".encode(), status=503)


def standby_pages(health: Callable[[], Health]) -> dict[str, MakePage]:
    """The pages of a control plane that stands by: that it does, and how far it followed the log."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)

    class Standing:
        """What the registry asks."""

        def collect(self) -> Iterator[Metric]:
            """How it stands now."""
            return of_standby(health())

    registry.register(Standing())

    async def page(accept: str) -> Page:
        """The figures."""
        encode, kind = choose_encoder(accept)
        return Page(encode(registry), kind)

    async def healthy(_: str) -> Page:
        """Never 200."""
        return health_page(health())

    return {"/metrics": page, "/healthz": healthy}


def _used(attempt: "Attempt") -> tuple[int, int, int]:
    return attempt.cost_micro_yen, attempt.energy_j, attempt.carbon_mg


def _disk_free(shell: "Shell") -> int:
    try:
        return shutil.disk_usage(shell.directory).free
    except OSError as error:
        _LOG.warning("%s: the room that is left can't be told: %s", shell.directory, error.strerror)
        return 0
