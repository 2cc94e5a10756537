"""A small fleet, orders and reports for the tests of control."""

from collections.abc import Iterator
from itertools import count

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.control.lease import LeaseTable
from moyai.control.state import State
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.exchange import Batch, Hello, Report, ReportBody
from moyai.model.ids import AttemptId, FlavorName, JobId, ProjectName, SiteName, TenantName, TextRef
from moyai.model.reasons import Code, Reason
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.units import Boot, Instant
from moyai.model.workload import JobOrder, Need
from moyai.plan.types import Plan, Planned

TENANT, PROJECT = TenantName("acme"), ProjectName("nlp")
SITES = ("fukuoka", "ishikari", "tokyo")
LEASE_US = 10_000_000


def profile(name: str, jurisdiction: str = "JP", nodes: int = 2) -> SiteProfile:
    """A site with `nodes` nodes of four cores."""
    flavor = Flavor(FlavorName("cpu"), nodes, 4, 8 << 30, idle_w=50, peak_w=150)
    return SiteProfile(SiteName(name), "host", jurisdiction, 0, 0, (flavor,), 30_000_000, 450_000, 1_200)


class World:
    """A control with its sites joined, and hands that report for them."""

    def __init__(self, *, nodes: int = 2) -> None:
        self.control = Control(State(), 1, LeaseTable(LEASE_US))
        self.records: list[Record] = []
        self.now, self.boot = Instant(1_800_000_000_000_000), Boot(5_000_000)
        self.numbers: dict[SiteName, Iterator[int]] = {}
        self.keep(self.control.take_over("test", self.now, self.boot))
        links = tuple(
            Link(SiteName(a), SiteName(b), 100_000_000, 5_000, 1_000_000) for a in SITES for b in SITES if a < b
        )
        codes = {"fukuoka": "JP-40", "ishikari": "JP-01", "tokyo": "JP-13"}
        fleet = tuple(profile(s, codes[s], nodes) for s in SITES)
        self.ask(r.DeclareFleet("op", fleet, links))
        for site in SITES:
            self.join(SiteName(site), "one")

    def keep(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """Note the records as durable."""
        self.records.extend(records)
        return records

    def ask(self, request: r.Request) -> tuple[Record, ...]:
        """A request, at the present time."""
        return self.keep(self.control.request(request, self.now))

    def join(self, site: SiteName, incarnation: str, attempts: tuple[AttemptId, ...] = ()):
        """An agent's hello."""
        hello = Hello(site, incarnation, ("guard",), attempts)
        records, welcome = self.control.hello(hello, self.now, self.boot)
        self.keep(records)
        self.numbers[site] = count(welcome.reports_through + 1)
        return welcome

    def report(self, site: str, *bodies: ReportBody, term: int | None = None):
        """Reports of a site, numbered on."""
        name = SiteName(site)
        held = self.control.state.sites[name]
        reports = tuple(Report(next(self.numbers[name]), self.now, type(b).__name__, b) for b in bodies)
        records, ack = self.control.reports(
            name, Batch(held.incarnation, held.term if term is None else term, reports), self.now, self.boot
        )
        self.keep(records)
        return ack

    def submit(self, name: str = "job", key: str = "", **changes: object) -> JobId:
        """A submitted job's id."""
        order = JobOrder(name, Need(1), **changes)  # type: ignore[arg-type]
        records = self.ask(r.SubmitJob(TENANT, PROJECT, "user:a", key or name, order, TextRef("t" * 64)))
        body = records[0].body
        assert isinstance(body, e.JobSubmitted)
        return body.job

    def place(self, job: JobId, site: str, node: int = 0, restore=None, covered_us: int = 0) -> AttemptId:
        """Issue an attempt by a hand-made plan, and return its id."""
        name = SiteName(site)
        ranks = self.control.state.jobs[job].order.nodes
        placement = e.Placement(
            name, FlavorName("cpu"), (node,) * ranks, self.now, Instant(self.now + 60_000_000), 50, 1, 1, 1, ()
        )
        plan = Plan(self.control.state.seq, self.now, (Planned(job, placement, restore, covered_us),))
        self.keep(self.control.planned(plan, self.now))
        newest = self.control.state.jobs[job].newest
        assert newest is not None
        return newest

    def run(self, job: JobId, site: str) -> AttemptId:
        """Issue and start an attempt."""
        attempt = self.place(job, site)
        self.report(site, e.AttemptStarted(attempt, self.now, ()))
        return attempt

    def wait(self, us: int) -> None:
        """Let time pass, and control notice."""
        self.now, self.boot = Instant(self.now + us), Boot(self.boot + us)
        self.keep(self.control.tick(self.now, self.boot))


def ended(attempt: AttemptId, outcome: e.Outcome = e.Outcome.SUCCEEDED, code: Code = Code.EXIT, found: int = 0):
    """An end as an engine reports it."""
    return e.AttemptEnded(
        attempt, outcome, Reason(code, found=found), Instant(1), Instant(2), 1_000_000, 900_000, 10_800, True, 10
    )
