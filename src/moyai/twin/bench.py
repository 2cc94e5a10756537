"""Many jobs through the whole path, without faults and without waiting: how fast the pure parts are together.

Submit, plan, issue, the agents' cores with their journals, claim, start, end: the same objects that a server and its
agents run, without sockets, disks and processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from moyai.agent.core.core import AgentCore
from moyai.agent.core.effects import Effect, EngineEnd, Start, Write
from moyai.control import requests as r
from moyai.control.core import Control
from moyai.control.lease import LeaseTable
from moyai.control.state import State, state_hash
from moyai.model.envelope import Record
from moyai.model.events import Outcome
from moyai.model.exchange import Commands, Numbered
from moyai.model.ids import AttemptId, FlavorName, NodeName, ProjectName, SiteName, TenantName, TextRef
from moyai.model.lifecycle import JOB_ENDED
from moyai.model.reasons import Code, Reason
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.units import Boot, Instant
from moyai.model.workload import JobOrder, Need
from moyai.plan.types import Planner, Policy
from moyai.twin.world import SECOND, START

LEASE_US = 30 * SECOND


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a run: events in the log, their head, and the state's hash."""

    events: int
    jobs_ended: int
    head: str
    state: str


class _Agent:
    """An agent's core with a journal in memory."""

    def __init__(self, site: SiteName) -> None:
        self.site = site
        self.core = AgentCore.restore(site, {}, f"{site}-1", ("guard",))
        self.journal: dict[str, bytes] = {}
        self.starting: list[AttemptId] = []
        self.running: list[AttemptId] = []
        self.starts = 0
        self.do(self.core.recover())

    def do(self, effects: list[Effect]) -> None:
        """Keep the writes; note the starts."""
        journal = self.journal
        for effect in effects:
            if isinstance(effect, Write):
                if effect.value is None:
                    journal.pop(effect.key, None)
                else:
                    journal[effect.key] = effect.value
            elif isinstance(effect, Start):
                self.starting.append(effect.launch.attempt)

    def work(self, boot: Boot, now: Instant) -> None:
        """What ran ends, what was asked for starts."""
        core = self.core
        ended, self.running = self.running, []
        for attempt in ended:
            end = EngineEnd(Outcome.SUCCEEDED, Reason(Code.EXIT), SECOND, SECOND, nonce=attempt)
            self.do(core.ended(attempt, end, now))
        starting, self.starting = self.starting, []
        for attempt in starting:
            claim, effects = core.claim(attempt, attempt, 0, boot)
            assert claim.granted, claim
            self.do(effects)
            self.do(core.started(attempt, now, (NodeName("n0"),)))
            self.running.append(attempt)


def fleet(sites: int, nodes: int) -> tuple[tuple[SiteProfile, ...], tuple[Link, ...]]:
    """Sites of `nodes` nodes with 16 cores each, all linked, prices a little apart."""
    names = [SiteName(f"site-{n:02d}") for n in range(sites)]
    profiles = tuple(
        SiteProfile(
            name=name,
            engine="host",
            jurisdiction="JP",
            latitude_microdeg=0,
            longitude_microdeg=0,
            flavors=(Flavor(FlavorName("cpu"), nodes, 16, 64 << 30, idle_w=100, peak_w=400),),
            price_micro_yen_per_kwh=(20 + n) * 1_000_000,
            carbon_mg_per_kwh=400_000,
            synthetic=True,
        )
        for n, name in enumerate(names)
    )
    links = tuple(Link(a, b, 1_000_000_000, 5_000) for a in names for b in names if a < b)
    return profiles, links


def run_events(jobs: int, planner: Planner, *, sites: int = 3, nodes: int = 16, at_once: int = 250) -> Ran:
    """Run `jobs` one-core jobs to their end, `at_once` submitted in every second of virtual time.

    Deterministic: equal arguments give an equal log. Raises AssertionError where a job does not end.
    """
    policy = Policy(exact_below_cells=0)
    control = Control(State(), 1, LeaseTable(LEASE_US))
    now, boot = START, Boot(SECOND)
    log: list[bytes] = []

    def keep(records: Sequence[Record]) -> None:
        log.extend(record.data for record in records)

    keep(control.take_over("bench", now, boot))
    profiles, links = fleet(sites, nodes)
    keep(control.request(r.DeclareFleet("operator", profiles, links), now))
    agents = [_Agent(p.name) for p in profiles]
    for agent in agents:
        records, welcome = control.hello(agent.core.hello(), now, boot)
        keep(records)
        agent.do(agent.core.welcome(welcome, boot, now))
    order = JobOrder(name="true", need=Need(cores=1, memory_bytes=1 << 30), expect_us=SECOND)
    submitted = rounds = 0
    while submitted < jobs or control.indexes.pending or control.indexes.live:
        rounds += 1
        assert rounds < 20 * (jobs // at_once + 10), "jobs do not end"
        for _ in range(min(at_once, jobs - submitted)):
            submitted += 1
            request = r.SubmitJob(
                TenantName("acme"), ProjectName("lab"), "ayako", f"key-{submitted}", order, TextRef("text")
            )
            keep(control.request(request, now))
        if control.needs_plan:
            snapshot, queue = control.snapshot(now)
            if queue:
                keep(control.planned(planner(snapshot, queue, now, policy), now))
        for agent in agents:
            found = control.commands(agent.site, agent.core.cursor, len(log))
            filled = tuple(Numbered(n.number, n.kind, n.command, '{"run":"true"}') for n in found)
            agent.do(agent.core.commands(Commands(1, control.state.sites[agent.site].term, filled), now))
            agent.work(boot, now)
            records, ack = control.reports(agent.site, agent.core.batch(10_000), now, boot)
            keep(records)
            agent.do(agent.core.ack(ack, boot))
        keep(control.tick(now, boot))
        now, boot = Instant(now + SECOND), Boot(boot + SECOND)
    ended = sum(job.state in JOB_ENDED for job in control.state.jobs.values())
    assert ended == jobs
    return Ran(len(log), ended, control.state.head_hash, state_hash(control.state))
