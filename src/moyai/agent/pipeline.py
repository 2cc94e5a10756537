"""Effects in order: what the core asks for is made durable first, then done. One transaction takes all that waits."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from moyai.agent.core.effects import Effect, Write
from moyai.agent.journal import Journal, JournalTrouble

LOG = logging.getLogger("moyai.agent")
AGAIN_S = 1.0
"""Between tries where the journal can't be written: nothing is done meanwhile, nobody is answered."""


class Pipeline:
    """`feed` takes the effects of one answer of the core; they act in the order in which they were fed."""

    def __init__(self, journal: Journal, act: Callable[[Effect], None]) -> None:
        self._journal = journal
        self._act = act
        self._waiting: list[tuple[Sequence[Effect], asyncio.Future[None]]] = []
        self._news = asyncio.Event()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, "journal")

    def feed(self, effects: Sequence[Effect]) -> "asyncio.Future[None]":
        """Done once the writes are durable and the rest was acted on; so are all that were fed before."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not effects and not self._waiting and not self._busy:
            done.set_result(None)
            return done
        self._waiting.append((effects, done))
        self._news.set()
        return done

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._turn()

    async def drain(self) -> None:
        """After `run` was cancelled: do what still waits."""
        while self._waiting:
            await self._turn()
        self._thread.shutdown()

    async def _turn(self) -> None:
        batch, self._waiting = self._waiting, []
        writes = [effect for effects, _ in batch for effect in effects if isinstance(effect, Write)]
        self._busy = True
        try:
            if writes:
                await asyncio.shield(self._commit(writes))
        finally:
            self._busy = False
        for effects, done in batch:
            for effect in effects:
                if not isinstance(effect, Write):
                    self._act(effect)
            if not done.done():
                done.set_result(None)

    async def _commit(self, writes: Sequence[Write]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._thread, self._journal.commit, writes)
            except JournalTrouble as error:
                LOG.error("%s; nothing is done until it can be", error)
                await asyncio.sleep(AGAIN_S)
            else:
                return
