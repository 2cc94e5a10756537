"""Watching for checkpoints: a directory with `.complete` in it is one, is kept as an object, and reported once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from moyai.agent.clocks import boot_us, wall_us
from moyai.agent.markers import complete
from moyai.data.io.tree import TreeError, keep
from moyai.data.manifest import BadManifest
from moyai.model.ids import AttemptId, ManifestId

LOG = logging.getLogger("moyai.agent")
EVERY_S = 0.25
AGAIN_US = 5_000_000
"""After a checkpoint could not be kept (a full disk) it is tried again that much later."""


@dataclass(frozen=True, slots=True)
class Found:
    """A complete checkpoint, kept as `manifest`. `run_us`: of the attempt's run time, what it saves."""

    attempt: AttemptId
    name: str
    manifest: ManifestId
    size_bytes: int
    run_us: int


@dataclass(slots=True)
class _Watched:
    place: Path
    started_us: int
    seen_us: int  # when it was last looked at
    known: set[str] = field(default_factory=set[str])
    later: dict[str, int] = field(default_factory=dict[str, int])  # name → not before
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Watcher:
    """Looks at the checkpoint directories of running attempts. `report` says whether the checkpoint was taken."""

    def __init__(self, objects: Path, report: Callable[[Found], Awaitable[bool]]) -> None:
        self._objects = objects
        self._report = report
        self._watched: dict[AttemptId, _Watched] = {}
        self._any = asyncio.Event()

    def watch(self, attempt: AttemptId, place: Path, started_us: int, known: Collection[str]) -> None:
        """Look at `place` from now on, for checkpoints other than `known` (restored, or reported before)."""
        if attempt not in self._watched:
            self._watched[attempt] = _Watched(place, started_us, started_us, set(known))
            self._any.set()

    async def over(self, attempt: AttemptId) -> None:
        """The attempt has ended: look a last time."""
        watched = self._watched.pop(attempt, None)
        if watched is not None:
            await self._look(attempt, watched)

    async def run(self) -> None:
        """Look every quarter of a second while there is something to look at."""
        while True:
            if not self._watched:
                self._any.clear()
                await self._any.wait()
            for attempt, watched in list(self._watched.items()):
                await self._look(attempt, watched)
            await asyncio.sleep(EVERY_S)

    async def _look(self, attempt: AttemptId, watched: _Watched) -> None:
        async with watched.lock:
            now = boot_us()
            since_us, watched.seen_us = now - watched.seen_us, now
            for marked_us, name in complete(watched.place, watched.known):
                if watched.later.get(name, 0) > now:
                    continue
                age_us = min(max(0, wall_us() - marked_us), since_us)  # a wall clock that steps can't say more
                await self._keep(attempt, watched, name, max(0, now - age_us - watched.started_us))

    async def _keep(self, attempt: AttemptId, watched: _Watched, name: str, run_us: int) -> None:
        try:
            manifest, held = await asyncio.to_thread(keep, watched.place / name, self._objects, f"{name}/")
        except (TreeError, BadManifest) as error:
            LOG.warning("%s: the checkpoint %s can't be kept: %s", attempt, name, error)
            watched.known.add(name)
            return
        except OSError as error:
            LOG.warning("%s: the checkpoint %s can't be kept now: %s", attempt, name, error)
            watched.later[name] = boot_us() + AGAIN_US
            return
        if await self._report(Found(attempt, name, manifest, held.size_bytes, run_us)):
            watched.known.add(name)
        else:
            watched.later[name] = boot_us() + AGAIN_US
