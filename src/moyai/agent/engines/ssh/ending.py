"""The end of an attempt: the last of its output, its checkpoints and its files come, its record is written."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from moyai.agent.engines.base import Desk
from moyai.agent.engines.ssh.machine import Machine, MachineDown, Unwilling
from moyai.agent.engines.ssh.mirror import Mirror
from moyai.agent.engines.ssh.parts import Parts, combined, verdict
from moyai.agent.engines.ssh.placed import Placed
from moyai.agent.messages import Ended, encode
from moyai.agent.places import Places
from moyai.agent.supervisor.record import NAME as RECORD
from moyai.model.commands import Launch
from moyai.model.events import Outcome
from moyai.model.ids import AttemptId

LOG = logging.getLogger("moyai.agent.ssh")
LAST_S = 60.0
"""How long the last of an attempt is waited for where a machine that had it can't be reached."""
AGAIN_S = 0.5


async def look(machine: Machine, mirrors: Mapping[AttemptId, Mirror]) -> dict[AttemptId, tuple[list[str], bool]]:
    """Bring what is new of some attempts: each one's new checkpoints, and whether more of its output waits there.

    Raises MachineDown, Unwilling, OSError (a full disk here).
    """
    wanted = {attempt: mirror.wanted(machine.name) for attempt, mirror in mirrors.items()}
    told, data = await machine.ask({"do": "look", "attempts": wanted})
    view, found = memoryview(data), dict[AttemptId, tuple[list[str], bool]]()
    for attempt, mirror in mirrors.items():
        used, names = mirror.take(machine.name, told[attempt], view)
        view = view[used:]
        found[attempt] = (names, mirror.behind(machine.name, told[attempt]))
    return found


class Ending:
    """Brings attempts to their end."""

    def __init__(self, desk: Desk, places: Places, machines: Mapping[str, Machine]) -> None:
        self._desk = desk
        self._places = places
        self._machines = machines

    async def end(self, launch: Launch, placed: Placed, parts: Parts, mirror: Mirror) -> None:
        """All parts are over: tell it."""
        attempt, need = launch.attempt, launch.need
        end = verdict(attempt, placed.nonce, parts, launch.limit_us, need.memory_bytes)
        ran = [name for name, ended in parts.ended.items() if ended.started_us]
        deadline = asyncio.get_running_loop().time() + LAST_S
        for name in ran:
            await self._until(deadline, attempt, lambda m=self._machines[name]: self._rest(m, attempt, mirror))
        if end.outcome is Outcome.SUCCEEDED:
            for path in placed.paths:
                await self._until(deadline, attempt, lambda p=path: self._file(mirror, p))
        whole = combined(attempt, placed.nonce, parts)
        record = whole or Ended(attempt, placed.nonce, "shutdown", end.reason.detail, -1, 0, 0, 0, 0, [])
        try:
            await asyncio.to_thread((self._places.attempt(attempt) / RECORD).write_bytes, encode(record))
        except OSError as error:
            LOG.warning("%s: its record can't be written: %s", attempt, error)
        since = [parts.ended[name].started_us + self._machines[name].offset_us for name in ran]
        await self._desk.ended(attempt, end, max(since, default=0))

    async def _rest(self, machine: Machine, attempt: AttemptId, mirror: Mirror) -> bool:
        more = True
        names: list[str] = []
        while more:
            names, more = (await look(machine, {attempt: mirror}))[attempt]
        return await mirror.checkpoints(self._machines, names)

    async def _file(self, mirror: Mirror, path: str) -> bool:
        await mirror.file(self._machines, path)
        return True

    @staticmethod
    async def _until(deadline: float, attempt: str, work: Callable[[], Awaitable[bool]]) -> None:
        """Do `work`, again where a machine is lost meanwhile, until the deadline."""
        while True:
            try:
                if await work():
                    return
            except Unwilling as error:
                LOG.warning("%s: not all of it could be had: %s", attempt, error)
                return
            except (MachineDown, OSError) as error:
                LOG.info("%s: the last of it can't be had now: %s", attempt, error)
            if asyncio.get_running_loop().time() > deadline:
                LOG.warning("%s: the last of it did not come within %d s", attempt, LAST_S)
                return
            await asyncio.sleep(AGAIN_S)
