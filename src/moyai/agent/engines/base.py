"""What the agent's shell and a site's engine ask of each other. A new engine is one class that is an `Engine`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from moyai.agent.core.effects import EngineEnd
from moyai.model.commands import Launch
from moyai.model.ids import AttemptId, NodeName
from moyai.model.reasons import Reason
from moyai.model.site import Flavor
from moyai.model.units import Instant
from moyai.model.workload import JobText


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to a start claim. The lease counts from the sending of the claim; `lease_us` is its full length."""

    granted: bool
    left_us: int
    lease_us: int
    detail: str = ""


class Desk(Protocol):
    """The shell, as an engine sees it. Each report may be made again; the second does nothing."""

    async def claim(self, attempt: AttemptId, nonce: str, ranks: Sequence[int]) -> Grant:
        """The one start claim, for all of `ranks` or none. Answered once it is durable."""
        ...

    async def joined(self) -> bool:
        """Returns when the site has joined: before, every claim would be refused. True where that took a while."""
        ...

    def lease_left_us(self, attempts: Sequence[str]) -> tuple[dict[str, int], int]:
        """What each attempt has left of its lease, and how long a lease is."""
        ...

    def started(self, attempt: AttemptId, nonce: str, at: Instant, boot_us: int, nodes: tuple[NodeName, ...]) -> None:
        """All ranks run, since `boot_us` of the site's CLOCK_BOOTTIME."""
        ...

    async def ended(self, attempt: AttemptId, end: EngineEnd, started_us: int) -> None:
        """The attempt is over, and nothing of it is alive. It ran since `started_us` of CLOCK_BOOTTIME; 0: never."""
        ...

    def launch_failed(self, attempt: AttemptId, detail: str) -> None:
        """It could not be started, and nothing of it was."""
        ...

    def forgotten(self, attempt: AttemptId, reason: Reason | None = None) -> None:
        """The engine has no record of it and can't say that nothing of it runs; or it lost sight of a part of it.

        Unclaimed, it is started again. Claimed, its end is said with `reason` once no guard of it can be alive.
        """
        ...

    def capacity_changed(self, flavors: tuple[Flavor, ...]) -> None:
        """The nodes that the engine has now."""
        ...

    def fail(self, error: BaseException) -> None:
        """Something broke that must not."""
        ...


class Engine(Protocol):
    """One site's own scheduler. Every method may be called again with the same arguments after a crash.

    None but `open` and `close` waits: what becomes of a request is told to the desk.
    """

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can do here, as found out by `open`: "guard", "mounts", "memory-limit"."""
        ...

    def capacity(self) -> tuple[Flavor, ...]:
        """The nodes that it has now."""
        ...

    async def open(self) -> None:
        """Find out what is here. Nothing is told to the desk before `begin`. Raises EngineDown."""
        ...

    def begin(self, desk: Desk, owned: Sequence[AttemptId]) -> None:
        """Work for `desk`. What runs here and is not `owned` by its journal is stopped."""
        ...

    def start(self, launch: Launch, text: JobText) -> None:
        """Run an attempt once its claim is granted, unless it is known here already, running or ended."""
        ...

    def observe(self, launch: Launch, nonce: str) -> None:
        """The start `nonce` was granted before a restart of the agent: watch it again, or tell its end."""
        ...

    def stop(self, attempt: AttemptId, grace_us: int, signal_name: str) -> None:
        """Signal, grace, kill. Always answered by `Desk.ended`, also where it isn't known here."""
        ...

    def checkpoint(self, attempt: AttemptId, signal_name: str) -> None:
        """Ask a running attempt for a checkpoint now."""
        ...

    def forget(self, attempt: AttemptId) -> None:
        """Its end is in the journal."""
        ...

    async def close(self) -> None:
        """The agent leaves; what runs goes on."""
        ...


class EngineDown(Exception):
    """The engine can't be reached or started; the message says why."""
