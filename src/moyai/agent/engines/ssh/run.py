"""One attempt as the SSH engine knows it."""

import asyncio
from dataclasses import dataclass, field

from moyai.agent.engines.ssh.mirror import Mirror
from moyai.agent.engines.ssh.parts import Parts
from moyai.agent.engines.ssh.placed import Placed
from moyai.agent.messages import Start, Stop
from moyai.model.commands import Launch
from moyai.model.ids import AttemptId


@dataclass(slots=True)
class Run:
    """An attempt as the engine knows it."""

    launch: Launch
    placed: Placed
    parts: Parts
    mirror: Mirror | None = None
    orders: dict[str, Start] = field(default_factory=dict[str, Start])
    sending: "asyncio.Future[None] | None" = None
    sent_us: int = 0  # when its orders went out, or it was found again
    claimed: bool = False
    claiming: bool = False
    begun: bool = False  # its start was told
    stop: Stop | None = None  # what its machines were told, or will be when they are back
    saving: "asyncio.Future[None] | None" = None  # checkpoints on their way
    finishing: bool = False
    over: bool = False

    @property
    def attempt(self) -> AttemptId:
        """Its id."""
        return self.launch.attempt
