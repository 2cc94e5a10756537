"""What every part of the agent's core shares: its state, its effects, and how a report and an end are made."""

from moyai.agent.core.attempts import UNMARKED, Held
from moyai.agent.core.effects import Effect, FetchBlob, Forget, Limits, Start, StopEngine, Write
from moyai.agent.core.journal import META, Meta, encode
from moyai.agent.core.objects import Objects, drop_key
from moyai.agent.core.reports import Reports
from moyai.model.events import AttemptEnded, Outcome
from moyai.model.exchange import ReportBody
from moyai.model.ids import AttemptId
from moyai.model.reasons import Reason
from moyai.model.site import Flavor
from moyai.model.units import Boot, Instant


class Base:
    """The state of the agent, and the steps that its parts have in common."""

    def __init__(self, meta: Meta, capabilities: tuple[str, ...], limits: Limits, reports: Reports, objects: Objects):
        self.meta = meta
        self.capabilities = capabilities
        self.limits = limits
        self.welcomed = False  # since the restart, or since the last hello
        self.attempts: dict[AttemptId, Held] = {}
        self.objects = objects
        self._reports = reports
        self._lease_until = Boot(0)
        self._lease_us = 0  # as control said it last; 0 before the welcome
        self._forgotten: dict[AttemptId, Boot] = {}  # claimed, lost by the engine: until when a guard may still run
        self._lost_why: dict[AttemptId, Reason] = {}  # of those, where the engine said more than that
        self._said_hello: frozenset[AttemptId] = frozenset()  # attempts that the last hello named
        self._capacity: tuple[Flavor, ...] | None = None
        self._meta_dirty = False
        self._out: list[Effect] = []

    def _take(self) -> list[Effect]:
        out, self._out = self._out, []
        if self._meta_dirty:
            self._meta_dirty = False
            out.append(Write(META, encode(self.meta)))
        return out

    def _set_meta(self, meta: Meta) -> None:
        if meta != self.meta:
            self.meta = meta
            self._meta_dirty = True

    def _report(self, body: ReportBody, at: Instant) -> None:
        self._out.append(self._reports.add(body, at))

    def _report_end(self, attempt: AttemptId, outcome: Outcome, reason: Reason, at: Instant) -> None:
        """The end of an attempt that never ran."""
        self._report(AttemptEnded(attempt, outcome, reason, Instant(0), at, 0, 0, 0, True, 0), at)

    def _write_mark(self, held: Held) -> None:
        self._out.append(Write(f"mark/{held.attempt}", encode(held.mark)))

    def _start(self, held: Held) -> None:
        if self.welcomed and not held.claimed and self.objects.all_here(held):
            held.offered = held.asked = True
            self._out.append(Start(held.launch, held.numbered.text))

    def _start_new(self) -> None:
        for held in self.attempts.values():
            if not held.offered:
                self._start(held)

    def _ask_blob(self, held: Held) -> None:
        workdir = held.launch.workdir
        if workdir is not None and workdir not in self.objects.blobs:
            self._out.append(FetchBlob(workdir))

    def _ask_to_stop(self, held: Held, reason: Reason) -> None:
        self._out.append(StopEngine(held.attempt, held.grace_us, held.stop_signal, reason))

    def _end_unclaimed(self, held: Held, outcome: Outcome, reason: Reason, at: Instant) -> None:
        """No start was granted, and from here on none will be: it is over, whatever the engine still has queued."""
        self._release(held)
        self._report_end(held.attempt, outcome, reason, at)
        if held.asked:
            self._ask_to_stop(held, reason)
        else:
            self._out.append(Forget(held.attempt))

    def _release(self, held: Held) -> None:
        attempt = held.attempt
        del self.attempts[attempt]
        self._forgotten.pop(attempt, None)
        self._lost_why.pop(attempt, None)
        self._reports.owed -= held.owed
        self._out.append(Write(f"launch/{attempt}", None))
        if held.mark != UNMARKED:
            self._out.append(Write(f"mark/{attempt}", None))
        self._out += [Write(f"checkpoint/{attempt}/{name}", None) for name in held.checkpoints]
        for manifest in held.manifests():  # a deletion may have waited for this end
            if self.objects.knows(drop_key(manifest)):
                self._out += self.objects.due(self.attempts.values(), manifest)
        workdir = held.launch.workdir
        if workdir is not None and all(h.launch.workdir != workdir for h in self.attempts.values()):
            self.objects.blobs.pop(workdir, None)
