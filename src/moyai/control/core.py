"""The control plane without its I/O: the same object in the server and in the twin.

Every method takes the time, changes the state, and returns the records it made. The caller appends them, and gives no
answer and no command away before they are durable. After an exception other than `Refused` the state may be ahead of
the log: the caller throws it away and loads it anew.
"""

from collections.abc import Iterable, Sequence

from moyai.control import requests as r
from moyai.control.apply import apply, now_of
from moyai.control.decide import decide
from moyai.control.handle import Refused, handle
from moyai.control.lease import LeaseTable
from moyai.control.migrate import migrate
from moyai.control.outbox import command_of
from moyai.control.outcome import waits_until
from moyai.control.replicate import replicate
from moyai.control.reports import report_drafts
from moyai.control.snapshot import Seen, snapshot
from moyai.control.state import Indexes, State
from moyai.control.why import Outlook, Why, why
from moyai.model import events as e
from moyai.model.envelope import Draft, Record, seal
from moyai.model.exchange import Ack, Batch, Hello, Numbered, Welcome
from moyai.model.ids import JobId, SiteName
from moyai.model.lifecycle import ATTEMPT_LIVE, AttemptState
from moyai.model.reasons import Reason
from moyai.model.units import Boot, Instant
from moyai.plan.types import Plan, Policy, QueuedJob, Snapshot

REPLAN_KINDS = frozenset(
    {
        e.SiteDeclared,
        e.LinkDeclared,
        e.SignalChanged,
        e.SiteDrainChanged,
        e.SiteJoined,
        e.CapacityReported,
        e.SiteLost,
        e.JobSubmitted,
        e.AttemptEnded,
        e.AttemptLost,
        e.JobRequeued,
        e.JobEnded,
        e.DatasetAdopted,
        e.TransferEnded,
    }
)
"""After these, a plan may come out otherwise."""

UPKEEP_KINDS = frozenset(
    {
        e.SiteJoined,
        e.SiteLost,
        e.LinkDeclared,
        e.AttemptIssued,
        e.AttemptStarted,
        e.AttemptEnded,
        e.AttemptLost,
        e.JobEnded,
        e.DatasetAdopted,
        e.CheckpointCompleted,
        e.TransferEnded,
        e.ReplicaDropped,
        e.FileStored,
    }
)
"""After these, something may have to move or go."""


class Control:
    """State, indexes and leases, with one epoch. See the module's words for the caller's duties."""

    def __init__(self, state: State, epoch: int, leases: LeaseTable) -> None:
        self.state = state
        self.indexes = Indexes(state)
        self.epoch = epoch
        self.leases = leases
        self.outlook = Outlook()
        self.dropped: tuple[Reason, ...] = ()  # parts of the newest plan that no longer held
        self.needs_plan = True
        self._upkeep_due = True
        self._seen = Seen()

    def take_over(self, code_version: str, now: Instant, boot: Boot) -> tuple[Record, ...]:
        """Start as the leader of this epoch: every site that may be at work gets a whole lease from now."""
        for name in sorted(self.state.sites):
            if (site := self.state.sites[name]).reachable:
                self.leases.answered(name, site.term, boot)
        return self.request(r.TakeOver(self.epoch, code_version), now)

    def request(self, request: r.Request, now: Instant) -> tuple[Record, ...]:
        """Do what a request asks, and what follows from it. Raises Refused, with nothing changed."""
        records = self._commit(handle(self.state, self.indexes, request, now), now)
        return (*records, *self._upkeep(now))

    def hello(self, hello: Hello, now: Instant, boot: Boot) -> tuple[tuple[Record, ...], Welcome]:
        """An agent comes. Raises Refused: unknown site, or another incarnation still holds the lease."""
        try:
            records = self.request(r.Join(hello), now)
        except Refused as refused:
            if refused.status == 409:
                refused.retry_after_us = self.leases.left_us(hello.site, boot)
            raise
        site = self.state.sites[hello.site]
        self.leases.answered(hello.site, site.term, boot)
        unknown = tuple(a for a in hello.attempts if not self._owns(hello.site, a))
        return records, Welcome(site.term, self.epoch, self.leases.lease_us, site.reports_through, unknown)

    def _owns(self, site: SiteName, attempt_id: str) -> bool:
        attempt = self.state.attempts.get(e.AttemptId(attempt_id))
        return attempt is not None and attempt.site == site and attempt.state in ATTEMPT_LIVE

    def reports(self, site: SiteName, batch: Batch, now: Instant, boot: Boot) -> tuple[tuple[Record, ...], Ack]:
        """Reports of a site, and the renewal of its lease. `Ack.renewed` is false where it must say hello again."""
        held = self.state.sites.get(site)
        if held is None:
            raise Refused(404, f"there is no site {site!r}")
        if batch.incarnation != held.incarnation:
            return (), Ack(self.epoch, 0, renewed=False, lease_us=0)
        records: list[Record] = []
        for report in batch.reports:
            drafts = report_drafts(self.state, r.TakeReport(site, batch.incarnation, report), now)
            records.extend(self._commit(drafts, now))
        records.extend(self._upkeep(now))
        renewed = held.reachable and batch.term == held.term
        if renewed:
            self.leases.answered(site, held.term, boot)
        return tuple(records), Ack(self.epoch, held.reports_through, renewed, self.leases.lease_us)

    def commands(self, site: SiteName, after: int, durable_seq: int) -> tuple[Numbered, ...]:
        """Outstanding commands of a site whose number is above `after` and durable, in order; their texts unopened."""
        held = self.state.sites.get(site)
        box = self.state.outbox.get(site, {})
        if held is None or not held.reachable:
            return ()
        return tuple(
            Numbered(number, type(command).__name__, command)
            for number, ref in sorted((n, ref) for ref, n in box.items() if after < n <= durable_seq)
            if (command := command_of(self.state, site, ref)) is not None
        )

    def tick(self, now: Instant, boot: Boot) -> tuple[Record, ...]:
        """What time alone brings: sites whose leases are over, jobs whose backoff is."""
        records: list[Record] = []
        for site, term in self.leases.over(boot):
            self.leases.forget(site)
            records.extend(self.request(r.LeaseOver(site, term), now))
        if not self.needs_plan:
            self.needs_plan = self._due(now)
        records.extend(self._upkeep(now))
        return tuple(records)

    def _due(self, now: Instant) -> bool:
        waiting = (self.state.jobs[j] for j in self.indexes.pending)
        return any(job.not_before and not waits_until(job, now) for job in waiting)

    def snapshot(self, now: Instant) -> tuple[Snapshot, tuple[QueuedJob, ...]]:
        """What to plan on. Until something changes, no further plan is needed."""
        self.needs_plan = False
        return snapshot(self.state, self.indexes, now, self._seen)

    def planned(self, plan: Plan, now: Instant) -> tuple[Record, ...]:
        """Issue what of a plan still holds; plan again where something didn't."""
        self.outlook = Outlook(plan)
        decision = decide(self.state, self.indexes, now, plan)
        self.dropped = decision.dropped
        records = self._commit(decision.drafts, now)
        if decision.dropped:
            self.needs_plan = True
        return (*records, *self._upkeep(now))

    def replicate(self, now: Instant, policy: Policy) -> tuple[Record, ...]:
        """Bring a few datasets to where they will be wanted, where the policy wants that. For about once an hour."""
        budget, cap = policy.replicate_bytes_per_hour, policy.replicate_bytes_per_site
        if budget <= 0:
            return ()
        return self._commit(replicate(self.state, self.indexes, now, budget_bytes=budget, cap_bytes=cap), now)

    def migrate(self, now: Instant, policy: Policy) -> tuple[Record, ...]:
        """Stop a few attempts whose jobs are cheaper elsewhere, where the policy wants that. For every ten minutes."""
        if policy.migrations_per_round <= 0:
            return ()
        return self._commit(migrate(self.state, self.indexes, now, policy), now)

    def why(self, job: JobId, now: Instant) -> Why:
        """The reasons of a job. Raises KeyError."""
        return why(self.state, self.outlook, self.state.jobs[job], now)

    def running(self) -> int:
        """How many attempts run now."""
        return sum(self.state.attempts[a].state is AttemptState.RUNNING for a in self.indexes.live)

    def _upkeep(self, now: Instant) -> tuple[Record, ...]:
        if not self._upkeep_due:
            return ()
        self._upkeep_due = False
        if not self.indexes.data_jobs and not self.indexes.flows.due:
            return ()
        drafts = decide(self.state, self.indexes, now).drafts
        self.indexes.flows.touched.clear()
        return self._commit(drafts, now)

    def _commit(self, drafts: Sequence[Draft], now: Instant) -> tuple[Record, ...]:
        records: list[Record] = []
        state, indexes, epoch = self.state, self.indexes, self.epoch
        for draft in drafts:
            record = seal(draft, state.seq + 1, state.head_hash, now_of(state, now), epoch)
            apply(state, indexes, record)
            kind = type(draft.body)
            if kind in REPLAN_KINDS:
                self.needs_plan = True
            if kind in UPKEEP_KINDS:
                self._upkeep_due = True
            records.append(record)
        return tuple(records)


def replay(state: State, records: Iterable[Record]) -> State:
    """`state` brought forward by `records`, in place. Raises BrokenInvariant."""
    indexes = Indexes(state)
    for record in records:
        apply(state, indexes, record)
    return state


__all__ = ["Control", "Refused", "replay"]
