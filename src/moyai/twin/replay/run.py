"""`replay`: the production control plane and the real agents' cores, from the first submission until nothing is left.

The direct path: a command reaches its site a moment after it was recorded, a report reaches control at once. Renewals
cost nothing, since an agent that lives always renews in time: they are done where somebody looks at a lease.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.control.handle import Refused
from moyai.control.lease import LeaseTable
from moyai.control.migrate import EVERY_US as MOVE_US
from moyai.control.replicate import EVERY_US
from moyai.control.state import State
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.exchange import Batch, Commands
from moyai.model.ids import AttemptId, JobId, SiteName, TextRef
from moyai.model.lifecycle import JobState
from moyai.model.units import MICROS_PER_SECOND
from moyai.model.workflow import task_job_id
from moyai.model.workload import Need
from moyai.plan.types import Plan, Planner
from moyai.twin.replay.agenda import Agenda
from moyai.twin.replay.flows import Links
from moyai.twin.replay.meter import Meter
from moyai.twin.replay.outcome import Outcome
from moyai.twin.replay.rows import job_rows
from moyai.twin.replay.setup import Arrival, Cancel, Change, Fault, Flow, Mishap, Placed, Setup
from moyai.twin.replay.site import Site, World

LEASE_US = 30 * MICROS_PER_SECOND
DELIVERY_US = MICROS_PER_SECOND // 5
"""From the record of a command to its arrival at the site."""
FRUITLESS_PLANS = 100
"""Plans in a row from which nothing came, with nothing else left to happen: what still waits will never run."""

Progress = Callable[[float], None]
Watch = Callable[[Sequence[Record]], None]


def replay(
    setup: Setup,
    planner: Planner,
    *,
    policy: str,
    seed: int = 0,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Replay `setup` with `planner`, which goes by the name `policy`; `seed` is what setup and planner were drawn from.

    `progress` is told the share of jobs that are over, now and then; `watch` sees every record of the log. Equal
    arguments give equal logs. A job that can never run stays unfinished. Raises ValueError where the setup contradicts
    itself, and whatever the planner raises.
    """
    return _Replay(setup, planner, progress, watch).run(policy, seed)


class _Replay:
    """One replay under way."""

    def __init__(self, setup: Setup, planner: Planner, progress: Progress | None, watch: Watch | None) -> None:
        self.setup, self.planner, self.progress, self.watch = setup, planner, progress, watch
        self.agenda = Agenda()
        self.control = Control(State(), 1, LeaseTable(LEASE_US))
        arrivals = setup.arrivals
        self.jobs: dict[JobId, Arrival] = {a.job: a for a in arrivals}
        if len(self.jobs) != len(arrivals):
            raise ValueError(f"{setup.name}: two arrivals have one key")
        last_us = arrivals[-1].at_us if arrivals else 0
        self.meter = Meter(setup.profiles, last_us, setup.sample_every_us, self._queued, self._deadlines())
        used = {c for a in arrivals for c in a.order.capabilities}
        self.world = World(
            self.agenda,
            Links(self.agenda, setup.links),
            self.meter,
            self,
            {job: a.work for job, a in self.jobs.items()},
            setup.began,
            ("guard", *sorted(used - {"guard"})),
        )
        self.sites = {p.name: Site(self.world, p.name) for p in sorted(setup.profiles, key=lambda p: p.name)}
        for site in self.sites.values():
            site.others = self.sites
        self.coming = len(arrivals)  # that are not submitted yet
        self.over = 0  # jobs
        self.rejected: set[JobId] = set()
        self.held: dict[AttemptId, tuple[SiteName, Need, int]] = {}
        self.deliveries: set[SiteName] = set()
        self.wan_bytes = 0
        self.plan_s: list[float] = []
        self.gaps: list[float] = []
        self.planned_us = -setup.plan_every_us  # when the last plan was made
        self.plan_number = 0  # of the plan that is due; 0: none
        self.plans_due = 0
        self.due_us = 0
        self.fruitless = 0
        self.seen = 0  # the log's length after the last plan
        self.told = -1

    def _queued(self) -> int:
        return len(self.control.indexes.pending)

    def _deadlines(self) -> list[tuple[int, JobId]]:
        began = self.setup.began
        found = [(a.order.deadline - began, job) for job, a in self.jobs.items() if a.order.deadline is not None]
        return sorted(found)

    def run(self, policy: str, seed: int) -> Outcome:
        """Everything, from the beginning to the end."""
        begun = time.perf_counter()
        self._open()
        agenda, meter = self.agenda, self.meter
        while agenda and not self._done():
            meter.advance(agenda.next_us())
            agenda.step()
            if self.control.needs_plan:
                self._plan_by(agenda.now)
        state, kept = self.control.state, meter.kept
        return Outcome(
            setup=self.setup.name,
            policy=policy,
            seed=seed,
            jobs=job_rows(self.setup, state, self.rejected),
            samples=tuple(s for s in meter.samples if s.at_us <= kept.at_us),
            plan_s=tuple(self.plan_s),
            gaps=tuple(self.gaps),
            wall_s=time.perf_counter() - begun,
            events=state.seq,
            head=state.head_hash,
            peak_w=meter.peak_w,
            wan_bytes=self.wan_bytes,
            notes=self.setup.notes,
            span_us=kept.at_us,
            feed_energy_j=kept.energy_j,
            idle_energy_j=kept.idle_j,
            idle_micro_yen=kept.idle_micro_yen,
            idle_carbon_mg=kept.idle_carbon_mg,
            held_us=kept.held_us,
            units_us=kept.units_us,
        )

    def _done(self) -> bool:
        return not self.coming and self.over + len(self.rejected) == len(self.jobs)

    def _open(self) -> None:
        setup, control, world = self.setup, self.control, self.world
        self._take(control.take_over("twin", world.wall, world.boot))
        self._take(control.request(r.DeclareFleet("operator", setup.profiles, setup.links), world.wall))
        for site in self.sites.values():
            site.power_on()
        for placed in setup.datasets:
            if placed.at_us > 0:
                self.agenda.at(placed.at_us, self._place, placed)
            else:
                self._place(placed)
        if setup.policy.replicate_bytes_per_hour > 0:
            self.agenda.at(EVERY_US, self._copy_ahead, 0)
        if setup.policy.migrations_per_round > 0:
            self.agenda.at(MOVE_US, self._move, 0)
        for fault in setup.faults:
            self.agenda.at(fault.at_us, self._fault, fault)
        for change in setup.changes:
            self.agenda.at(change.at_us, self._change, change)
        tasks = {f"{flow.key}/{task.order.name}" for flow in setup.workflows for task in flow.tasks}
        for arrival in setup.arrivals:
            if arrival.key not in tasks:
                self.agenda.at(arrival.at_us, self._arrive, arrival)
        for cancel in setup.cancels:  # behind the arrivals: of two at one time, the job comes first
            self.agenda.at(cancel.at_us, self._cancel, cancel)
        for flow in setup.workflows:
            self.agenda.at(flow.at_us, self._arrive_whole, flow)

    def _copy_ahead(self, seq: int) -> None:
        """Once an hour, until a whole hour brought nothing new and nothing will come."""
        self._take(self.control.replicate(self.world.wall, self.setup.policy))
        if self.coming or self.control.state.seq != seq:
            self.agenda.at(self.agenda.now + EVERY_US, self._copy_ahead, self.control.state.seq)

    def _move(self, seq: int) -> None:
        """Every ten minutes, while anything runs or will come."""
        self._take(self.control.migrate(self.world.wall, self.setup.policy))
        if self.coming or self.control.indexes.live or self.control.state.seq != seq:
            self.agenda.at(self.agenda.now + MOVE_US, self._move, self.control.state.seq)

    # -- from outside ----------------------------------------------------------------------------------------------

    def _place(self, placed: Placed) -> None:
        control, world = self.control, self.world
        profile = placed.profile
        request = r.RegisterDataset(
            placed.tenant,
            placed.project,
            "operator",
            f"{profile.name}@{profile.version}",
            profile,
            placed.site,
            TextRef("text"),
        )
        try:
            records = control.request(request, world.wall)
        except Refused as refused:
            raise ValueError(f"{self.setup.name}: dataset {profile.name}@{profile.version}: {refused}") from None
        if not records:
            raise ValueError(f"{self.setup.name}: {profile.name}@{profile.version} is placed twice")
        body = records[0].body
        assert isinstance(body, e.DatasetRegistered)
        self.sites[placed.site].trees[profile.name, body.profile.version] = placed.size_bytes
        self._take(records)
        self._deliver(placed.site)

    def _arrive(self, arrival: Arrival) -> None:
        self.coming -= 1
        request = r.SubmitJob(
            arrival.tenant, arrival.project, arrival.tenant, arrival.key, arrival.order, TextRef("text")
        )
        try:
            self._take(self.control.request(request, self.world.wall))
        except Refused:
            self.rejected.add(arrival.job)
        self.meter.keep()

    def _arrive_whole(self, flow: Flow) -> None:
        jobs = [task_job_id(flow.tenant, flow.project, task.order.name, flow.key) for task in flow.tasks]
        self.coming -= len(jobs)
        texts = (TextRef("text"),) * len(jobs)
        request = r.SubmitWorkflow(flow.tenant, flow.project, flow.tenant, flow.key, flow.name, flow.tasks, texts)
        try:
            self._take(self.control.request(request, self.world.wall))
        except Refused:
            self.rejected.update(jobs)
        self.meter.keep()

    def _cancel(self, cancel: Cancel) -> None:
        if cancel.job in self.control.state.jobs:  # else control refused it when it came
            self._take(self.control.request(r.CancelJob("operator", cancel.job), self.world.wall))

    def _change(self, change: Change) -> None:
        request = r.ChangeSignal("operator", change.site, change.signal, change.value)
        self._take(self.control.request(request, self.world.wall))
        self.meter.change(change.site, change.signal, change.value)

    def _fault(self, fault: Fault) -> None:
        site, world = self.sites[fault.site], self.world
        match fault.mishap:
            case Mishap.LOST:
                if site.up:
                    site.renew()
                    site.power_off()
                    self.agenda.at(self.agenda.now + self.control.leases.wait_us + 1, self._tick)
            case Mishap.BACK:
                site.power_on()
            case Mishap.DRAIN | Mishap.UNDRAIN:
                request = r.DrainSite("operator", fault.site, fault.mishap is Mishap.DRAIN)
                self._take(self.control.request(request, world.wall))

    def _tick(self) -> None:
        """Let control look at its clock; those that live have renewed their leases, then as ever."""
        for site in self.sites.values():
            if site.up:
                site.renew()
        self._take(self.control.tick(self.world.wall, self.world.boot))

    # -- exchange --------------------------------------------------------------------------------------------------

    def hello(self, site: Site) -> None:
        """See `site.Control`."""
        control, world = self.control, self.world
        records, welcome = control.hello(site.core.hello(), world.wall, world.boot)
        self._take(records)
        site.perform(site.core.welcome(welcome, world.boot, world.wall))
        site.tell()
        self._deliver(site.name)

    def reports(self, site: Site, batch: Batch) -> None:
        """See `site.Control`."""
        world = self.world
        records, ack = self.control.reports(site.name, batch, world.wall, world.boot)
        self._take(records)
        site.perform(site.core.ack(ack, world.boot))

    def _deliver_soon(self, site: SiteName) -> None:
        if site not in self.deliveries:
            self.deliveries.add(site)
            self.agenda.at(self.agenda.now + DELIVERY_US, self._deliver, site)

    def _deliver(self, name: SiteName) -> None:
        self.deliveries.discard(name)
        site, control = self.sites[name], self.control
        if not site.up:
            return
        found = control.commands(name, site.core.cursor, control.state.seq)
        if found:
            term = control.state.sites[name].term
            site.perform(site.core.commands(Commands(control.epoch, term, found), self.world.wall))
            site.tell()

    def _take(self, records: Sequence[Record]) -> None:
        """See what came into the log."""
        if self.watch is not None and records:
            self.watch(records)
        for record in records:
            seen = _SEEN.get(type(record.body))
            if seen is not None:
                seen(self, record.body)

    def issued(self, body: e.AttemptIssued) -> None:
        """Nodes are held from now on, and a launch is on its way."""
        place, need = body.placement, self.control.state.jobs[e.JobId(body.attempt.rpartition(".")[0])].order.need
        self.held[body.attempt] = (place.site, need, len(place.nodes))
        self.meter.hold(place.site, need, len(place.nodes))
        self._deliver_soon(place.site)

    def stop_requested(self, body: e.AttemptStopRequested) -> None:
        """A stop is on its way."""
        self._deliver_soon(self.control.state.attempts[body.attempt].site)

    def freed(self, body: e.AttemptEnded | e.AttemptLost) -> None:
        """Nodes are free again."""
        held = self.held.pop(body.attempt, None)
        if held is not None:
            site, need, ranks = held
            self.meter.hold(site, need, -ranks)

    def transfer_issued(self, body: e.TransferIssued) -> None:
        """A fetch is on its way."""
        self._deliver_soon(body.target)

    def transfer_ended(self, body: e.TransferEnded) -> None:
        """Bytes have moved."""
        self.wan_bytes += body.moved_bytes

    def drop_requested(self, body: e.ReplicaDropRequested) -> None:
        """A deletion is on its way."""
        self._deliver_soon(body.site)

    def requeued(self, body: e.JobRequeued) -> None:
        """It may be due later than now."""
        if body.not_before > self.world.wall:
            self.agenda.at(body.not_before - self.setup.began, self._plan_anew)

    def job_ended(self, body: e.JobEnded) -> None:
        """One job less."""
        self.over += 1
        self.meter.keep()
        deadline = self.jobs[body.job].order.deadline
        if body.state is JobState.SUCCEEDED and deadline is not None and self.world.wall <= deadline:
            self.meter.on_time(body.job)
        if self.progress is not None:
            percent = 100 * self.over // len(self.jobs)
            if percent > self.told:
                self.told = percent
                self.progress(self.over / len(self.jobs))

    # -- planning --------------------------------------------------------------------------------------------------

    def _plan_anew(self) -> None:
        self.control.needs_plan = True

    def _plan_by(self, at_us: int) -> None:
        """A plan at `at_us`, but not sooner after the last than the setup allows."""
        at_us = max(at_us, self.planned_us + self.setup.plan_every_us)
        if self.plan_number and self.due_us <= at_us:
            return
        self.plans_due += 1
        self.plan_number, self.due_us = self.plans_due, at_us
        self.agenda.last(at_us, self._plan, self.plan_number)

    def _plan(self, number: int) -> None:
        if number != self.plan_number:
            return
        self.plan_number = 0
        control, now = self.control, self.world.wall
        if not control.indexes.pending:
            control.needs_plan = False
            return
        snapshot, queue = control.snapshot(now)
        self.planned_us = self.agenda.now
        begun = time.perf_counter()
        made = self.planner(snapshot, queue, now, self.setup.policy)
        self.plan_s.append(time.perf_counter() - begun)
        if made.bound_micro_yen or made.value_micro_yen:
            self.gaps.append(made.gap)
        before = control.state.seq
        self._take(control.planned(made, now))
        self.fruitless = self.fruitless + 1 if before == control.state.seq == self.seen and not self.agenda else 0
        self.seen = control.state.seq
        if self.fruitless >= FRUITLESS_PLANS:
            control.needs_plan = False
            return
        self._plan_later(made)

    def _plan_later(self, made: Plan) -> None:
        if made.due is not None:
            self._plan_by(made.due - self.setup.began)


_SEEN: dict[type[e.EventBody], Callable[[_Replay, Any], None]] = {
    e.AttemptIssued: _Replay.issued,
    e.AttemptStopRequested: _Replay.stop_requested,
    e.AttemptEnded: _Replay.freed,
    e.AttemptLost: _Replay.freed,
    e.TransferIssued: _Replay.transfer_issued,
    e.TransferEnded: _Replay.transfer_ended,
    e.ReplicaDropRequested: _Replay.drop_requested,
    e.JobRequeued: _Replay.requeued,
    e.JobEnded: _Replay.job_ended,
}
