"""The agent's core towards its engine and its guards: claims, leases, starts, checkpoints, ends."""

from moyai.agent.core.attempts import Held, refused
from moyai.agent.core.base import Base
from moyai.agent.core.effects import FOREVER, Claim, Effect, EngineEnd, Forget, Write
from moyai.agent.core.objects import drop_key
from moyai.model.events import AttemptEnded, AttemptStarted, CapacityReported, CheckpointCompleted, FileStored, Outcome
from moyai.model.ids import AttemptId, ManifestId, NodeName
from moyai.model.reasons import Code, Reason
from moyai.model.site import Flavor
from moyai.model.units import Boot, Instant
from moyai.model.workload import OnPartition

_MICROS_PER_SECOND = 1_000_000


class Starts(Base):
    """What the engine and the guards say and ask."""

    def ready(self, attempt: AttemptId) -> bool:
        """Whether the attempt is ours and everything it needs lies here."""
        held = self.attempts.get(attempt)
        return held is not None and self.objects.all_here(held)

    def claim(self, attempt: AttemptId, nonce: str, rank: int, now: Boot) -> tuple[Claim, list[Effect]]:
        """The one start claim. The first nonce wins, and each rank of it is granted once.

        Answer only after the effects are durable. A claim whose answer was lost is spent: that rank never runs.
        """
        held = self.attempts.get(attempt)
        if held is None or not held.asked:
            return Claim(False, 0, refused("this site was not asked to start such an attempt")), []
        if self._lease_until <= now:
            return Claim(False, 0, refused("the site's lease is over")), []
        if attempt in self._forgotten:
            return Claim(False, 0, refused("the engine has lost it")), []
        reason = held.claim(nonce, rank)
        if reason is not None:
            return Claim(False, 0, reason), []
        self._write_mark(held)
        return Claim(True, self._left(held, now)), self._take()

    def lease_left_us(self, now: Boot, attempt: AttemptId | None = None) -> int:
        """How long the site, or one attempt of it, may still run unless renewed; 0 where it is over.

        A guard that renews counts from its *asking*, and keeps the later of this and what it had: an agent that was
        just restarted has no lease to give yet. An attempt that isn't ours has none.
        """
        if attempt is None:
            return max(0, self._lease_until - now)
        held = self.attempts.get(attempt)
        return 0 if held is None else self._left(held, now)

    def _left(self, held: Held, now: Boot) -> int:
        if held.attempt in self._forgotten:
            return 0
        if self._waits_out(held):
            return FOREVER
        return max(0, self._lease_until - now)

    def _waits_out(self, held: Held) -> bool:
        """Whether nothing but a reported end or an operator's word ends it: no guard would, without a guard."""
        return held.launch.on_partition is OnPartition.WAIT or "guard" not in self.capabilities

    def _renew(self, sent: Boot, lease_us: int) -> None:
        self._lease_us = lease_us
        self._lease_until = max(self._lease_until, Boot(sent + lease_us))

    def started(self, attempt: AttemptId, at: Instant, nodes: tuple[NodeName, ...]) -> list[Effect]:
        """All ranks run."""
        held = self.attempts.get(attempt)
        if held is None or not held.started(at):
            return []
        self._reports.owed -= 1
        self._write_mark(held)
        self._report(AttemptStarted(attempt, at, nodes), at)
        return self._take()

    def checkpoint(
        self, attempt: AttemptId, name: str, manifest: ManifestId, *, size_bytes: int, run_us: int, at: Instant
    ) -> list[Effect]:
        """A complete checkpoint lies here as `manifest`; `run_us`: the attempt's own run time that it saves.

        Returns nothing where it is known, where the attempt isn't ours, and where the journal is full: offer it again.
        """
        held = self.attempts.get(attempt)
        if held is None or name in held.checkpoints or not self._reports.room(1):
            return []
        held.checkpoints[name] = None
        self._out.append(Write(f"checkpoint/{attempt}/{name}", b"1"))
        if len(held.checkpoints) > self.limits.checkpoints:
            oldest = next(iter(held.checkpoints))
            del held.checkpoints[oldest]
            self._out.append(Write(f"checkpoint/{attempt}/{oldest}", None))
        self._out += self.objects.hold(manifest)
        covered_us = held.launch.covered_us + run_us
        self._report(CheckpointCompleted(attempt, name, manifest, size_bytes, covered_us), at)
        return self._take()

    def going(self, manifest: ManifestId) -> bool:
        """Whether a manifest is being deleted here: a file with that content must be kept anew once it is gone."""
        return self.objects.knows(drop_key(manifest))

    def file_stored(
        self, attempt: AttemptId, file: str, manifest: ManifestId, *, size_bytes: int, at: Instant
    ) -> list[Effect]:
        """A task's attempt succeeded, and `file`, one of those that its launch names, lies here as `manifest`.

        To be said of each before `ended`. Nothing where it was said, or the attempt isn't ours.
        """
        held = self.attempts.get(attempt)
        if held is None or file in held.stored or file not in held.launch.files:
            return []
        held.stored[file] = None
        self._reports.owed -= 1
        self._out += self.objects.hold(manifest, self._reports.next)
        self._report(FileStored(attempt, file, manifest, size_bytes), at)
        return self._take()

    def ended(self, attempt: AttemptId, end: EngineEnd, at: Instant) -> list[Effect]:
        """The engine says that the attempt is over. An end of a start that has not the claim is dropped.

        After a stop was asked for, every end but a success is that stop, with its reason. Where the attempt isn't ours
        any more the engine may forget it.
        """
        held = self.attempts.get(attempt)
        if held is None:
            return [Forget(attempt)]
        mark = held.mark
        if mark.nonce:
            other = end.nonce and end.nonce != mark.nonce
            if other or (not end.nonce and end.reason.code is Code.START_REFUSED):
                return []  # a second start of it was turned away; the one that has the claim goes on
        outcome, reason = end.outcome, end.reason
        if mark.stop is not None and outcome is not Outcome.SUCCEEDED:
            outcome, reason = Outcome.STOPPED, mark.stop
        modelled = end.energy_j is None
        energy_j = held.launch.power_w * end.run_us // _MICROS_PER_SECOND if end.energy_j is None else end.energy_j
        self._release(held)
        self._report(
            AttemptEnded(
                attempt=attempt,
                outcome=outcome,
                reason=reason,
                started_at=mark.started_at or end.started_at,
                ended_at=at,
                run_us=end.run_us,
                cpu_us=end.cpu_us,
                energy_j=energy_j,
                energy_modelled=modelled,
                output_bytes=end.output_bytes,
            ),
            at,
        )
        self._out.append(Forget(attempt))
        return self._take()

    def launch_failed(self, attempt: AttemptId, detail: str, at: Instant) -> list[Effect]:
        """It could not be started, and nothing of it runs. Dropped once a start was claimed: the engine speaks then."""
        held = self.attempts.get(attempt)
        if held is None or held.claimed:
            return []
        reason = Reason(Code.LAUNCH_FAILED, detail=detail)
        self._end_unclaimed(held, Outcome.FAILED, reason, at)
        return self._take()

    def forgotten(self, attempt: AttemptId, now: Boot, reason: Reason | None = None) -> list[Effect]:
        """The engine has no record of an attempt that it was asked to start, and can't say that nothing of it runs.

        Nor has it where it knows other starts of the attempt alone, and not the one that has the claim.

        Unclaimed, it is started again. Claimed, its guard is renewed no more, and `tick` says its end once no guard of
        it can be alive. One that waits out partitions has no such moment: it ends when control has disowned it, which
        an operator's word must have settled. May be told again and again; does nothing before the welcome.
        `reason`: of the end, where the engine knows more than that it lost it.
        """
        held = self.attempts.get(attempt)
        if held is None:
            return [Forget(attempt)]
        if reason is not None:
            self._lost_why.setdefault(attempt, reason)
        if not held.claimed:
            self._start(held)
        elif self._waits_out(held):
            if held.disowned:
                self._forgotten.setdefault(attempt, now)
        elif self._lease_us:
            # A guard's clock may be another machine's: a part of the lease is to spare for drift.
            self._forgotten.setdefault(attempt, Boot(now + self._lease_us + self._lease_us // 64))
        return self._take()

    def tick(self, now: Boot, at: Instant) -> list[Effect]:
        """Let time pass: say the end of forgotten attempts whose guards must be dead by now. About once a second."""
        out: list[Effect] = []
        for attempt in [a for a, until in self._forgotten.items() if until < now]:
            reason = self._lost_why.get(attempt, Reason(Code.ENGINE_FORGOT))
            out += self.ended(attempt, EngineEnd(Outcome.FAILED, reason), at)
        return out

    def capacity(self, flavors: tuple[Flavor, ...], at: Instant) -> list[Effect]:
        """The nodes that the engine has now. Reported where it changed since the restart and the journal has room."""
        if flavors == self._capacity or not self._reports.room(1):
            return []
        self._capacity = flavors
        self._report(CapacityReported(self.meta.site, flavors), at)
        return self._take()
