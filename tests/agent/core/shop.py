"""Parts for tests of the agent's core: commands, and a shell whose journal survives while everything else may not."""

from collections.abc import Iterable

from moyai.agent.core.core import AgentCore
from moyai.agent.core.effects import Effect, EngineEnd, Limits, Write
from moyai.model.commands import Command, Fetch, Input, Launch, Stop
from moyai.model.events import Outcome
from moyai.model.exchange import Commands, Numbered, Report, Welcome
from moyai.model.ids import (
    AttemptId,
    BlobId,
    DatasetName,
    FlavorName,
    JobId,
    ManifestId,
    ProjectName,
    SiteName,
    TenantName,
    TextRef,
    TransferId,
)
from moyai.model.reasons import Code, Reason
from moyai.model.units import Boot, Instant
from moyai.model.workload import Need, OnPartition

SITE = SiteName("tokyo")
LEASE_US = 15_000_000


def launch(
    attempt: str,
    *,
    ranks: int = 1,
    inputs: Iterable[str] = (),
    restore: str | None = None,
    workdir: str | None = None,
    on_partition: OnPartition = OnPartition.STOP,
) -> Launch:
    """A launch command with the fewest words."""
    return Launch(
        attempt=AttemptId(attempt),
        job=JobId(attempt.rpartition(".")[0]),
        name="job",
        tenant=TenantName("t"),
        project=ProjectName("p"),
        flavor=FlavorName("f"),
        nodes=(0,) * ranks,
        need=Need(),
        power_w=360,
        limit_us=0,
        grace_us=1_000_000,
        on_partition=on_partition,
        checkpoint=None,
        inputs=tuple(Input(DatasetName(m), 1, ManifestId(m)) for m in inputs),
        workdir=BlobId(workdir) if workdir else None,
        restore=ManifestId(restore) if restore else None,
        covered_us=0,
        text=TextRef("ref"),
    )


def stop(attempt: str, code: Code = Code.CANCELLED) -> Stop:
    """A stop command."""
    return Stop(AttemptId(attempt), Reason(code))


def fetch(transfer: str, manifest: str) -> Fetch:
    """A fetch command."""
    return Fetch(TransferId(transfer), ManifestId(manifest), SiteName("osaka"), 10, 10, 0)


def numbered(number: int, command: Command) -> Numbered:
    """A command as it comes."""
    return Numbered(number, type(command).__name__, command, text='{"run": "true"}')


def end(outcome: Outcome = Outcome.SUCCEEDED, code: Code = Code.EXIT, nonce: str = "", run_us: int = 0) -> EngineEnd:
    """An end as an engine says it."""
    return EngineEnd(outcome, Reason(code), run_us=run_us, nonce=nonce)


class Shell:
    """Keeps the journal, and remembers every other effect that it was told to act on."""

    def __init__(self, limits: Limits | None = None, capabilities: tuple[str, ...] = ("guard",)) -> None:
        self.limits = limits
        self.capabilities = capabilities
        self.journal: dict[str, bytes] = {}
        self.acts: list[Effect] = []
        self.now = 1_000_000
        self.core = self._restore()
        self.do(self.core.recover())

    def _restore(self) -> AgentCore:
        return AgentCore.restore(SITE, dict(self.journal), f"inc{self.now}", self.capabilities, self.limits)

    def do(self, effects: list[Effect]) -> list[Effect]:
        """Make the writes durable, then act. Returns what was acted on."""
        for effect in effects:
            if isinstance(effect, Write):
                if effect.value is None:
                    self.journal.pop(effect.key, None)
                else:
                    self.journal[effect.key] = effect.value
        acts = [e for e in effects if not isinstance(e, Write)]
        self.acts += acts
        return acts

    def crash(self) -> list[Effect]:
        """Lose everything but the journal, and come back."""
        self.now += 1
        self.core = self._restore()
        return self.do(self.core.recover())

    def welcome(self, term: int = 1, epoch: int = 1, through: int = 0, unknown: tuple[str, ...] = ()) -> list[Effect]:
        """Say hello and be welcomed."""
        self.core.hello()
        answer = Welcome(term, epoch, LEASE_US, through, tuple(AttemptId(a) for a in unknown))
        return self.do(self.core.welcome(answer, Boot(self.now), Instant(self.now)))

    def give(self, *commands: Numbered, term: int = 1, epoch: int = 1) -> list[Effect]:
        """Deliver commands."""
        return self.do(self.core.commands(Commands(epoch, term, commands), Instant(self.now)))

    def reports(self) -> tuple[Report, ...]:
        """All that is not acknowledged."""
        return self.core.batch(1_000_000).reports


def joined(limits: Limits | None = None) -> Shell:
    """A shell whose agent was welcomed."""
    shell = Shell(limits)
    shell.welcome()
    return shell
