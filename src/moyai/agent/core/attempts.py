"""One attempt in the agent: held until its inputs lie here, then started, claimed, ended."""

from dataclasses import dataclass, field, replace

from moyai.agent.core.journal import Mark
from moyai.model.commands import Launch
from moyai.model.exchange import Numbered
from moyai.model.ids import AttemptId, ManifestId
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant

UNMARKED = Mark()


@dataclass(slots=True)
class Held:
    """An attempt that the journal owns.

    `offered`: its Start was given in this life of the agent. `asked`: in this one or perhaps an earlier one, so that
    the engine may have it.
    """

    numbered: Numbered
    launch: Launch
    mark: Mark = UNMARKED
    offered: bool = False
    asked: bool = False
    checkpoints: dict[str, None] = field(default_factory=dict[str, None])
    stored: dict[str, None] = field(default_factory=dict[str, None])  # files reported in this life of the agent

    @property
    def attempt(self) -> AttemptId:
        """Its id."""
        return self.launch.attempt

    @property
    def claimed(self) -> bool:
        """Whether a start was granted, or seen where none asks for leave. From here on it is never launched again."""
        return bool(self.mark.nonce or self.mark.started_at)

    @property
    def owed(self) -> int:
        """How many reports it may still make for sure: its start and its end, and a workflow's task its files."""
        return (1 if self.mark.started_at else 2) + len(self.launch.files) - len(self.stored)

    @property
    def grace_us(self) -> int:
        """Between the stop signal and the kill."""
        rule = self.launch.checkpoint
        return rule.grace_us if rule else self.launch.grace_us

    @property
    def stop_signal(self) -> str:
        """The signal that asks it to end."""
        rule = self.launch.checkpoint
        return rule.stop_signal if rule else "SIGTERM"

    def needs(self, manifest: ManifestId) -> bool:
        """Whether it reads that manifest."""
        return manifest in self.manifests()

    def manifests(self) -> list[ManifestId]:
        """What must lie here before it starts, its working directory apart."""
        wanted = [i.manifest for i in self.launch.inputs]
        if self.launch.restore is not None:
            wanted.append(self.launch.restore)
        return wanted

    def claim(self, nonce: str, rank: int) -> Reason | None:
        """Why `rank` of the start `nonce` may not run, or None where it may and `mark` now says so."""
        mark = self.mark
        if mark.stop is not None:
            return refused("the attempt is being stopped")
        if not 0 <= rank < len(self.launch.nodes):
            return refused(f"it has {len(self.launch.nodes)} ranks and no rank {rank}")
        if not nonce:
            return refused("a start needs a nonce")
        if mark.started_at and not mark.nonce:
            return refused("it runs already, without a claim")
        if mark.nonce and mark.nonce != nonce:
            return refused("another start of this attempt has the claim")
        if rank in mark.ranks:
            return refused(f"rank {rank} has claimed its start already")
        self.mark = Mark(nonce, (*mark.ranks, rank), mark.started_at, mark.stop)
        return None

    def started(self, at: Instant) -> bool:
        """Note the start. Returns False where it is known already."""
        mark = self.mark
        if mark.started_at:
            return False
        self.mark = Mark(mark.nonce, mark.ranks, at, mark.stop)
        return True

    @property
    def disowned(self) -> bool:
        """Whether control said that it is no longer this site's."""
        return self.mark.stop is not None and self.mark.stop.code is Code.SITE_LOST

    def stop(self, reason: Reason, *, disown: bool = False) -> bool:
        """Note that it must end. Returns False where that is known already.

        The first reason stands, but for that of an attempt that control disowns.
        """
        if self.disowned or (self.mark.stop is not None and not disown):
            return False
        self.mark = replace(self.mark, stop=reason)
        return True


def refused(detail: str) -> Reason:
    """The reason of a refused start claim."""
    return Reason(Code.START_REFUSED, detail=detail)
