"""The agent's shell: the pure core, and everything in the world that it asks for or is told about."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from moyai.agent import files
from moyai.agent.checkpoints import Found, Watcher
from moyai.agent.clocks import boot_us, wall_us
from moyai.agent.control import Control, Denied, Gone, Rejoin, Unreachable
from moyai.agent.core.attempts import Held
from moyai.agent.core.core import AgentCore
from moyai.agent.core.effects import (
    AdoptTree,
    DropObject,
    Effect,
    EngineEnd,
    FetchBlob,
    FetchObject,
    Forget,
    Observe,
    Start,
    StopEngine,
    Write,
)
from moyai.agent.engines.base import Engine, Grant
from moyai.agent.journal import Journal
from moyai.agent.pipeline import Pipeline
from moyai.agent.places import Places
from moyai.agent.retention import Kept, Retention, tidy_blobs, tidy_objects
from moyai.agent.transfers import Fetcher
from moyai.data.io import tree
from moyai.data.manifest import BadManifest, is_id
from moyai.model.codec import DecodeError, decode
from moyai.model.commands import Adopt, Fetch, Launch
from moyai.model.events import Outcome
from moyai.model.exchange import Commands, Welcome
from moyai.model.ids import AttemptId, BlobId, ManifestId, NodeName
from moyai.model.reasons import Code, Reason
from moyai.model.site import Flavor
from moyai.model.units import Boot, Instant
from moyai.model.workload import DatasetText, JobText

LOG = logging.getLogger("moyai.agent")
TICK_S = 1.0
BLOB_TRIES = 30
BLOB_AGAIN_S = 1.0


def now() -> Instant:
    """The wall clock."""
    return Instant(wall_us())


def boot() -> Boot:
    """CLOCK_BOOTTIME."""
    return Boot(boot_us())


class Shell:
    """Acts for the core, and is the desk of the engine. `news` is set when there are reports to send."""

    def __init__(
        self,
        core: AgentCore,
        places: Places,
        journal: Journal,
        engine: Engine,
        control: Control,
        *,
        kept: Kept | None = None,
    ) -> None:
        self.core = core
        self.places = places
        self.engine = engine
        self.control = control
        self.news = asyncio.Event()
        self.lease_us = 0  # how long a lease is; 0 before the first welcome
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._welcomed = asyncio.Event()  # there is a lease under which claims can be granted
        self._journal = journal
        self._pipeline = Pipeline(journal, self._act)
        self._watcher = Watcher(places.objects, self._checkpoint)
        self._fetcher = Fetcher(control, places.objects)
        self._retention = Retention(places, kept or Kept())
        self._keeper = ThreadPoolExecutor(1, "keeper")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watches: dict[AttemptId, asyncio.Task[Any]] = {}
        self._under_way: set[str] = set()  # fetches, adoptions, deletions and blobs that a task does now

    # -- its life --------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Take up again what the journal says, and remove what neither it nor anything under way knows."""
        effects = self.core.recover()
        fetches = {effect.fetch.manifest for effect in effects if isinstance(effect, FetchObject)}
        blobs = {held.launch.workdir for held in self.core.attempts.values() if held.launch.workdir is not None}
        known = fetches | set(self.core.objects.held)
        await asyncio.to_thread(tidy_objects, self.places, known, fetches)
        await asyncio.to_thread(tidy_blobs, self.places, blobs)
        left = await asyncio.to_thread(self._retention.left, frozenset(self.core.attempts))
        self.spawn(self._pipeline.run(), "pipeline")
        self.spawn(self._watcher.run(), "checkpoints")
        self.spawn(self._tick(), "tick")
        self.engine.begin(self, tuple(self.core.attempts))
        await self.feed(effects)
        await self.feed(self.core.capacity(self.engine.capacity(), now()))
        self.spawn(self._keep(lambda: [self._retention.ended(attempt) for attempt in left]), "retention")

    async def close(self) -> None:
        """Leave: what is in the core is in the journal, what runs goes on."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.engine.close()
        await self._pipeline.drain()
        self._keeper.shutdown()
        self._journal.close()
        await self.control.close()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` beside everything else. Its failure is the agent's: nothing is passed over."""
        task: asyncio.Task[Any] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Something broke that must not: the agent ends, loudly, and its journal says where it stood."""
        if not self.failure.done():
            self.failure.set_exception(error)

    def feed(self, effects: Sequence[Effect]) -> "asyncio.Future[None]":
        """Make the core's effects durable, then act on them. Done once both is so, for these and all before them."""
        done = self._pipeline.feed(effects)
        if self.core.waiting:
            done.add_done_callback(lambda _: self.news.set())
        return done

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.feed(self.core.tick(boot(), now()))

    # -- the exchange tells ----------------------------------------------------------------------------------------

    def leave_term(self) -> None:
        """A hello is to be said: until it is answered no start is granted."""
        self._welcomed.clear()

    async def welcome(self, welcome: Welcome, sent: Boot) -> bool:
        """Control's welcome. False where it is older than what the journal knows."""
        effects = self.core.welcome(welcome, sent, now())
        if self.core.welcomed:
            self.lease_us = welcome.lease_us
            self._welcomed.set()
        await self.feed(effects)
        return self.core.welcomed

    async def commands(self, commands: Commands) -> None:
        """What a poll brought."""
        await self.feed(self.core.commands(commands, now()))

    # -- the desk of the engine ------------------------------------------------------------------------------------

    async def claim(self, attempt: AttemptId, nonce: str, ranks: Sequence[int]) -> Grant:
        """The one start claim, for all of `ranks` or none, answered once it is durable."""
        effects: list[Effect] = []
        left_us, refusal = 0, None
        for rank in ranks:
            claim, more = self.core.claim(attempt, nonce, rank, boot())
            effects += more
            if not claim.granted:
                refusal = claim.reason
                break
            left_us = claim.lease_left_us
        await self.feed(effects)
        if refusal is not None:
            LOG.warning("%s may not start: %s", attempt, refusal.detail)
            return Grant(False, 0, self.lease_us, refusal.detail)
        return Grant(True, left_us, self.lease_us)

    async def joined(self) -> bool:
        """Returns when the site has joined; True where it had not."""
        waited = not self._welcomed.is_set()
        await self._welcomed.wait()
        return waited

    def lease_left_us(self, attempts: Sequence[str]) -> tuple[dict[str, int], int]:
        """What each attempt has left of its lease, and how long a lease is."""
        at = boot()
        return {name: self.core.lease_left_us(at, AttemptId(name)) for name in attempts}, self.lease_us

    def started(self, attempt: AttemptId, nonce: str, at: Instant, boot_us: int, nodes: tuple[NodeName, ...]) -> None:
        """All ranks run."""
        held = self.core.attempts.get(attempt)
        if held is None or held.mark.nonce != nonce:
            return
        self.feed(self.core.started(attempt, at, nodes))
        self._look_for_checkpoints(held, boot_us)

    def _look_for_checkpoints(self, held: Held, started_us: int) -> None:
        if held.launch.checkpoint is not None and held.attempt not in self._watches:
            work = self._watch(held.launch, started_us, tuple(held.checkpoints))
            self._watches[held.attempt] = self.spawn(work, f"watch {held.attempt}")

    async def _watch(self, launch: Launch, started_us: int, reported: tuple[str, ...]) -> None:
        restored: tuple[str, ...] = ()
        if launch.restore is not None:
            try:
                held = await asyncio.to_thread(tree.load, self.places.objects, launch.restore)
                restored = held.tops()
            except (OSError, BadManifest) as error:
                LOG.warning("%s: what was restored can't be read any more: %s", launch.attempt, error)
        place = self.places.checkpoints(launch.attempt)
        self._watcher.watch(launch.attempt, place, started_us, {*reported, *restored})

    async def _checkpoint(self, found: Found) -> bool:
        effects = self.core.checkpoint(
            found.attempt,
            found.name,
            found.manifest,
            size_bytes=found.size_bytes,
            run_us=found.run_us,
            at=now(),
        )
        await self.feed(effects)
        return bool(effects)

    async def ended(self, attempt: AttemptId, end: EngineEnd, started_us: int) -> None:
        """The attempt is over: its last checkpoints count, then its end is reported."""
        held = self.core.attempts.get(attempt)
        if held is not None and started_us and end.nonce == held.mark.nonce:
            self._look_for_checkpoints(held, started_us)  # where it ended before this agent came
        if (watch := self._watches.pop(attempt, None)) is not None:
            await watch
            await self._watcher.over(attempt)
        if held is not None and held.launch.files and end.outcome is Outcome.SUCCEEDED:
            end = await self._keep_files(held, end)
        await self.feed(self.core.ended(attempt, end, now()))

    async def _keep_files(self, held: Held, end: EngineEnd) -> EngineEnd:
        """Keep the files of a task that succeeded. Where one can't be kept, it failed."""
        if end.nonce and end.nonce != held.mark.nonce:
            return end  # a start that hasn't the claim: its end counts for nothing
        work = self.places.attempt(held.attempt) / "work"
        try:
            text = decode(held.numbered.text.encode(), JobText)
            for file in held.launch.files:
                name, tree_ = await files.keep(work, self.places.objects, file, text, self.core.going)
                told = self.core.file_stored(held.attempt, file, name, size_bytes=tree_.size_bytes, at=now())
                await self.feed(told)
        except files.Unkept as problem:
            reason = Reason(Code.NO_OUTPUT, subject=problem.file, detail=problem.detail)
            return replace(end, outcome=Outcome.FAILED, reason=reason)
        except DecodeError:
            reason = Reason(Code.NO_OUTPUT, subject=held.launch.files[0], detail="its text can't be read")
            return replace(end, outcome=Outcome.FAILED, reason=reason)
        return end

    def launch_failed(self, attempt: AttemptId, detail: str) -> None:
        """It could not be started, and nothing of it was."""
        self.feed(self.core.launch_failed(attempt, detail, now()))

    def forgotten(self, attempt: AttemptId, reason: Reason | None = None) -> None:
        """The engine has lost sight of it: started again if unclaimed, else ended once no guard can be alive."""
        self.feed(self.core.forgotten(attempt, boot(), reason))

    def capacity_changed(self, flavors: tuple[Flavor, ...]) -> None:
        """The nodes that the engine has now."""
        self.feed(self.core.capacity(flavors, now()))

    # -- what the core asks for ------------------------------------------------------------------------------------

    def _act(self, effect: Effect) -> None:
        match effect:
            case Start():
                self._start(effect)
            case StopEngine():
                self.engine.stop(effect.attempt, effect.grace_us, effect.signal)
            case Observe():
                held = self.core.attempts.get(effect.attempt)
                if held is not None:
                    self.engine.observe(held.launch, held.mark.nonce)
            case Forget():
                self.engine.forget(effect.attempt)
                self.spawn(self._keep(lambda: self._retention.ended(effect.attempt)), f"tidy {effect.attempt}")
            case FetchObject():
                self._once(f"fetch {effect.fetch.transfer}", self._fetch(effect.fetch))
            case FetchBlob():
                self._once(f"blob {effect.blob}", self._blob(effect.blob))
            case AdoptTree():
                key = f"adopt {effect.adopt.dataset}@{effect.adopt.version}"
                self._once(key, self._adopt(effect.adopt, effect.text))
            case DropObject():
                self._once(f"drop {effect.manifest}", self._drop(effect.manifest))
            case Write():
                raise AssertionError("the pipeline keeps writes to itself")

    def _once(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` unless the same is under way: an effect may come again."""
        if key in self._under_way:
            work.close()
            return
        self._under_way.add(key)
        self.spawn(work, key).add_done_callback(lambda _: self._under_way.discard(key))

    async def _keep(self, work: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._keeper, work)

    def _start(self, effect: Start) -> None:
        try:
            text = decode(effect.text.encode(), JobText)
        except DecodeError as error:
            self.launch_failed(effect.launch.attempt, f"its text can't be read: {error}")
            return
        self.engine.start(effect.launch, text)

    async def _fetch(self, fetch: Fetch) -> None:
        done = await self._fetcher.fetch(fetch)
        effects = self.core.fetched(
            fetch.transfer,
            stored=done.stored,
            moved_bytes=done.moved_bytes,
            took_us=done.took_us,
            detail=done.detail,
            at=now(),
        )
        await self.feed(effects)

    async def _blob(self, blob: BlobId) -> None:
        """Get the archive of a working directory, or fail all attempts that wait for it."""
        problem = ""
        if not is_id(blob):
            problem = "its name is no blob id"
        elif not self.places.blob(blob).is_file():
            problem = await self._get_blob(blob)
        if not problem:
            await self.feed(self.core.have(blob))
            return
        LOG.warning("the working directory %s can't be had: %s", blob, problem)
        for held in [h for h in self.core.attempts.values() if h.launch.workdir == blob]:
            self.launch_failed(held.attempt, f"its working directory can't be had: {problem}")

    async def _get_blob(self, blob: BlobId) -> str:
        """Returns what went wrong, or ""."""
        target = self.places.blob(blob)
        partial = target.with_suffix(".part")
        problem = ""
        for _ in range(BLOB_TRIES):
            try:
                target.parent.mkdir(exist_ok=True)
                await self.control.blob(blob, partial)
                if await asyncio.to_thread(tree.digest_of, partial) == blob:
                    partial.rename(target)
                    return ""
                problem = "what came is not what was asked for"
            except (Gone, Denied) as error:
                return str(error)
            except OSError as error:
                problem = f"{error.filename}: {error.strerror}"
            except (Unreachable, Rejoin) as error:
                problem = str(error)
            await asyncio.sleep(BLOB_AGAIN_S)
        return problem

    async def _adopt(self, adopt: Adopt, text: str) -> None:
        manifest, size, detail = None, 0, ""
        try:
            place = decode(text.encode(), DatasetText).path
            manifest, held = await asyncio.to_thread(tree.keep_any, place, self.places.objects)
            size = held.size_bytes
        except DecodeError:
            detail = "its path is not known any more"
        except (tree.TreeError, BadManifest) as error:
            detail = str(error)
        except OSError as error:
            detail = f"{error.filename or self.places.objects}: {error.strerror or error}"
        at = now()
        await self.feed(
            self.core.adopted(adopt.dataset, adopt.version, manifest, size_bytes=size, detail=detail, at=at)
        )

    async def _drop(self, manifest: ManifestId) -> None:
        if is_id(manifest):
            while True:
                try:
                    await asyncio.to_thread(tree.drop, self.places.objects, manifest)
                    break
                except OSError as error:
                    LOG.warning("object %s can't be deleted: %s", manifest, error)
                    await asyncio.sleep(5)
        await self.feed(self.core.dropped(manifest, now()))
