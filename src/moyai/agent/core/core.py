"""The agent of one site as a reducer: no I/O, no clock, no randomness.

Every public method takes what happened and returns what to do (`effects`). Times come in: `at` is the site's wall
clock, `now` and `sent` are its CLOCK_BOOTTIME, on which leases run. Restored from its journal it is the same agent
again, except that it has no lease, and takes no commands, until control has welcomed it.
"""

from collections.abc import Mapping
from dataclasses import replace

from moyai.agent.core.attempts import UNMARKED, Held
from moyai.agent.core.effects import Effect, Limits, Observe, Write
from moyai.agent.core.holdings import Holdings
from moyai.agent.core.journal import ForeignJournal, Meta, encode, read
from moyai.agent.core.objects import Objects, adopt_key, drop_key, fetch_key
from moyai.agent.core.reports import Reports
from moyai.agent.core.starts import Starts
from moyai.model.commands import Adopt, Drop, Fetch, Launch, Stop
from moyai.model.events import Outcome
from moyai.model.exchange import Ack, Batch, Commands, Hello, Numbered, Welcome
from moyai.model.ids import AttemptId, SiteName
from moyai.model.reasons import Code, Reason
from moyai.model.units import Boot, Instant


class AgentCore(Starts, Holdings):
    """What one site's agent knows, and its rules. Made by `restore` alone.

    Here is its exchange with control; `Starts` faces the engine and its guards, `Holdings` the objects.
    """

    @classmethod
    def restore(
        cls,
        site: SiteName,
        entries: Mapping[str, bytes],
        incarnation: str,
        capabilities: tuple[str, ...] = (),
        limits: Limits | None = None,
    ) -> "AgentCore":
        """The agent as its journal left it; `incarnation` names a journal that is empty. Raises ForeignJournal.

        Call `recover` next.
        """
        journal = read(entries)
        limits = limits or Limits()
        meta = journal.meta
        if meta is None and entries:
            raise ForeignJournal("the journal has entries but no head")
        if meta is not None and meta.site != site:
            raise ForeignJournal(f"the journal belongs to site {meta.site!r}, not to {site!r}")
        head = meta or Meta(site, incarnation)
        core = cls(
            head,
            capabilities,
            limits,
            Reports(journal.reports, head.acked, limits),
            Objects(journal.held, journal.work),
        )
        core._meta_dirty = meta is None
        for name, numbered in journal.launches.items():
            launch = numbered.command
            assert isinstance(launch, Launch)
            held = Held(numbered, launch, journal.marks.get(name, UNMARKED), asked=True)
            held.checkpoints = journal.checkpoints.get(name, {})
            core.attempts[launch.attempt] = held
        core._reports.owed = sum(h.owed for h in core.attempts.values()) + core.objects.owed
        return core

    def recover(self) -> list[Effect]:
        """What to take up again after a restart. Starts wait for the welcome: without a lease none could be claimed."""
        for held in self.attempts.values():
            if held.claimed:
                self._out.append(Observe(held.attempt))
                if held.mark.stop is not None:
                    self._ask_to_stop(held, held.mark.stop)
            else:
                self._ask_blob(held)
        self._out += self.objects.due(self.attempts.values())
        return self._take()

    def hello(self) -> Hello:
        """The hello to send. No commands are taken until it is answered: control must say first what is still ours."""
        self.welcomed = False
        self._said_hello = frozenset(self.attempts)
        meta = self.meta
        attempts, manifests = tuple(sorted(self.attempts)), tuple(sorted(self.objects.held))
        return Hello(meta.site, meta.incarnation, self.capabilities, attempts, manifests)

    def welcome(self, w: Welcome, sent: Boot, at: Instant) -> list[Effect]:
        """Control's answer to the hello sent at `sent`. One of an older epoch or term is dropped."""
        meta = self.meta
        if w.epoch < meta.epoch or w.term < meta.term:
            return []
        # What came in an older term after the hello was written, control was not asked about: it can't stay.
        unasked = [a for a in self.attempts if a not in self._said_hello] if w.term > meta.term else []
        self._set_meta(replace(meta, term=w.term, epoch=w.epoch))
        self._acknowledge(w.reports_through)
        self._renew(sent, w.lease_us)
        self.welcomed = True
        reason = Reason(Code.SITE_LOST, subject=meta.site)
        for attempt in (*w.unknown, *unasked):
            if attempt in self.attempts:
                self._stop(attempt, reason, at, disown=True)
        for held in self.attempts.values():
            self._start(held)
        return self._take()

    def batch(self, limit: int) -> Batch:
        """The next reports to send, at most `limit`; a batch without any renews the lease."""
        return Batch(self.meta.incarnation, self.meta.term, self._reports.first(limit))

    @property
    def waiting(self) -> int:
        """How many reports are not acknowledged."""
        return len(self._reports)

    @property
    def owed(self) -> int:
        """How many reports accepted work will still make for sure."""
        return self._reports.owed

    @property
    def cursor(self) -> int:
        """The number after which to ask for commands."""
        return self.meta.cursor

    def ack(self, a: Ack, sent: Boot) -> list[Effect]:
        """Control's answer to the batch sent at `sent`. One of an older epoch is dropped."""
        if a.epoch < self.meta.epoch:
            return []
        if a.epoch > self.meta.epoch:
            self._set_meta(replace(self.meta, epoch=a.epoch))
        self._acknowledge(a.through)
        if a.renewed:
            self._renew(sent, a.lease_us)
        return self._take()

    def commands(self, c: Commands, at: Instant) -> list[Effect]:
        """Take commands above the cursor, in order.

        The whole message is dropped if it is of an older epoch, of another term, or came while a hello is open. When
        the journal is full it stops before the first command it has no room for: that one comes again.
        """
        meta = self.meta
        if c.epoch < meta.epoch or c.term != meta.term or not self.welcomed:
            return []
        cursor = meta.cursor
        for numbered in c.commands:
            if numbered.number <= cursor:
                continue
            if not self._take_command(numbered, at):
                break
            cursor = numbered.number
        self._set_meta(Meta(meta.site, meta.incarnation, meta.term, c.epoch, cursor, meta.acked))
        return self._take()

    def _take_command(self, numbered: Numbered, at: Instant) -> bool:
        """Take one command. False where there is no room even to refuse it."""
        match numbered.command:
            case Launch() as launch:
                return self._take_launch(numbered, launch, at)
            case Stop() as stop:
                if stop.attempt not in self.attempts and not self._reports.room(1, reserve=True):
                    return False
                self._stop(stop.attempt, stop.reason, at)
                return True
            case Fetch() as fetch:
                key = fetch_key(fetch.transfer)
            case Adopt() as adopt:
                key = adopt_key(adopt.dataset, adopt.version)
            case Drop() as drop:
                if self.objects.held.get(drop.manifest, 0) > drop.reports_through:
                    return True  # asked before control knew of a file with that content: it takes that back
                key = drop_key(drop.manifest)
        if self.objects.knows(key):
            return True
        if not self._reports.room(1, reserve=True):
            return False
        self._reports.owed += 1
        self._out.append(self.objects.take(key, numbered))
        self._out += self.objects.ask(numbered, self.attempts.values())
        return True

    def _take_launch(self, numbered: Numbered, launch: Launch, at: Instant) -> bool:
        if launch.attempt in self.attempts:
            return True
        if len(self.attempts) >= self.limits.attempts or not self._reports.room(2 + len(launch.files)):
            if not self._reports.room(1, reserve=True):
                return False
            reason = Reason(Code.LAUNCH_FAILED, detail="the agent's journal is full")
            self._report_end(launch.attempt, Outcome.FAILED, reason, at)
            return True
        held = Held(numbered, launch)
        self.attempts[launch.attempt] = held
        self._reports.owed += held.owed
        self._out.append(Write(f"launch/{launch.attempt}", encode(numbered)))
        self._ask_blob(held)
        self._start(held)
        return True

    def _stop(self, attempt: AttemptId, reason: Reason, at: Instant, *, disown: bool = False) -> None:
        held = self.attempts.get(attempt)
        if held is None:
            if not self._reports.holds_end_of(attempt):
                # Its launch never came, and from here on never will. Said twice, control drops it.
                self._report_end(attempt, Outcome.STOPPED, reason, at)
        elif not held.claimed:
            self._end_unclaimed(held, Outcome.STOPPED, reason, at)
        elif held.stop(reason, disown=disown):
            self._write_mark(held)
            self._ask_to_stop(held, reason)

    def _acknowledge(self, through: int) -> None:
        if through > self.meta.acked:
            self._out += self._reports.acknowledge(through)
            meta = self.meta
            self._set_meta(Meta(meta.site, meta.incarnation, meta.term, meta.epoch, meta.cursor, through))
