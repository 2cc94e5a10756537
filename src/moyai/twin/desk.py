"""People at their clients: they ask again until they are answered, as the real client does with its idempotency key."""

from collections.abc import Callable

from moyai.control import requests as r
from moyai.control.core import Refused
from moyai.twin.control import ControlNode
from moyai.twin.world import SECOND, World

RETRY_US = 2 * SECOND


class Desk:
    """Every request that people make, until it is answered."""

    __slots__ = ("_asked", "_control", "_open", "_said", "_world", "lost", "refused")

    def __init__(self, world: World, control: ControlNode) -> None:
        self._world, self._control = world, control
        self._open: dict[int, r.Request] = {}
        self._asked = 0
        self._said = ""
        self.lost = 0.05  # of requests and of answers
        self.refused: list[tuple[r.Request, Refused]] = []

    @property
    def open(self) -> int:
        """How many requests are not answered."""
        return len(self._open)

    def words(self) -> str:
        """What is open, and the newest refusal, for people."""
        return f"{[type(q).__name__ for q in self._open.values()]} {self._said}"

    def ask(self, request: r.Request, then: Callable[[], None] | None = None) -> None:
        """Ask, until there is an answer; `then` follows it."""
        self._asked += 1
        self._open[self._asked] = request
        self._send(self._asked, then)

    def _send(self, number: int, then: Callable[[], None] | None) -> None:
        request = self._open.get(number)
        if request is None:
            return

        def answer(refused: Refused | None) -> None:
            if self._world.chance(self.lost):
                return
            if refused is not None and isinstance(request, r.SubmitJob | r.SubmitWorkflow | r.RegisterDataset):
                self._said = refused.message
                return  # the fleet or its dataset is not declared yet: asked again
            if self._open.pop(number, None) is None:
                return
            if refused is not None:
                self.refused.append((request, refused))
            if then is not None:
                then()

        if not self._world.chance(self.lost):
            self._world.after(self._world.between(100, 20_000), self._control.ask, request, answer)
        self._world.after(RETRY_US, self._send, number, then)
