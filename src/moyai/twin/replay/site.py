"""One site of a replay: the real agent's core with a journal in memory, over an engine that runs on virtual time.

The engine starts what it is told at once, and nothing goes wrong by itself. A site that is lost, and comes back, is
one whose machines lost power: its disk and its journal stay, its processes don't.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

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
from moyai.model.commands import Fetch, Launch
from moyai.model.events import Outcome
from moyai.model.exchange import Batch
from moyai.model.ids import AttemptId, DatasetName, JobId, ManifestId, NodeName, SiteName, TransferId, ordinal_of
from moyai.model.reasons import Code, Reason
from moyai.model.units import MICROS_PER_SECOND, Boot, Instant
from moyai.twin.engine import Work
from moyai.twin.replay.agenda import Agenda
from moyai.twin.replay.flows import Links
from moyai.twin.replay.meter import Meter

STOP_US = MICROS_PER_SECOND
"""From its stop signal to the end of a process."""
SAVE_BYTES_PER_SECOND = 1_000_000_000
"""At which a job that is stopped writes its checkpoint; it has done so by the end of its grace, though."""
FETCH_TIMEOUT_US = 60 * MICROS_PER_SECOND
"""After which a fetch from a site that doesn't answer has failed."""
BOOTED_US = 3_600 * MICROS_PER_SECOND
"""What every boot clock shows when a replay begins."""
BATCH = 64


class Control(Protocol):
    """What a site asks of the control plane."""

    def reports(self, site: "Site", batch: Batch) -> None:
        """Take reports, or renew the lease."""
        ...

    def hello(self, site: "Site") -> None:
        """Its agent has come."""
        ...


@dataclass(slots=True, eq=False)
class Run:
    """One attempt that runs."""

    launch: Launch
    began_us: int
    work: Work
    plan: int = 0  # grows when its end is decided anew; what was due before is then no longer so
    stopping: bool = False


@dataclass(slots=True)
class World:
    """What all sites of a replay share."""

    agenda: Agenda
    links: Links
    meter: Meter
    control: Control
    work: Mapping[JobId, Work]
    began: Instant
    capabilities: tuple[str, ...]

    @property
    def wall(self) -> Instant:
        """What every wall clock shows."""
        return Instant(self.began + self.agenda.now)

    @property
    def boot(self) -> Boot:
        """What every boot clock shows."""
        return Boot(BOOTED_US + self.agenda.now)


class Site:
    """The machines of a site, and their disk. Its agent's core is gone while the site is lost."""

    def __init__(self, world: World, name: SiteName) -> None:
        self.world, self.name = world, name
        self.up = False
        self.core = self._restored({})
        self.journal: dict[str, bytes] = {}
        self.disk: dict[ManifestId, int] = {}  # manifest → bytes
        self.trees: dict[tuple[DatasetName, int], int] = {}  # datasets that lie here, unhashed yet → bytes
        self.others: Mapping[SiteName, Site] = {}
        self._runs: dict[AttemptId, Run] = {}
        self._dead: dict[AttemptId, EngineEnd] = {}  # what the engine knows of runs that a power failure ended
        self._fetching: set[TransferId] = set()
        self._lives = 0
        self._names: dict[tuple[str, int], NodeName] = {}

    def _restored(self, journal: dict[str, bytes]) -> AgentCore:
        return AgentCore.restore(self.name, dict(journal), f"{self.name}-1", self.world.capabilities)

    # -- life and death --------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """The machines and the agent come up; the agent says hello."""
        if self.up:
            return
        self.up = True
        self._lives += 1
        self.core = self._restored(self.journal)
        self.world.meter.back(self.name)
        self.perform(self.core.recover())
        self.world.control.hello(self)

    def power_off(self) -> None:
        """The agent and everything that runs are gone."""
        if not self.up:
            return
        self.up = False
        for attempt, run in self._runs.items():
            self._leave(run)
            reason = Reason(Code.SUPERVISOR_LOST)
            run_us = self.world.agenda.now - run.began_us
            self._dead[attempt] = EngineEnd(Outcome.FAILED, reason, run_us, run_us, nonce=attempt)
        self._runs.clear()
        self._fetching.clear()
        self.world.links.cut(self.name)
        self.world.meter.lost(self.name)

    # -- what the agent's core asks --------------------------------------------------------------------------------

    def perform(self, effects: list[Effect]) -> None:
        """Make the writes durable, then act."""
        acts: list[Effect] = []
        journal = self.journal
        for effect in effects:
            if type(effect) is not Write:
                acts.append(effect)
            elif effect.value is None:
                journal.pop(effect.key, None)
            else:
                journal[effect.key] = effect.value
        for effect in acts:
            self._act(effect)

    def _act(self, effect: Effect) -> None:
        match effect:
            case Start():
                self._start(effect.launch)
            case StopEngine():
                self._stop(effect)
            case Forget():
                self._dead.pop(effect.attempt, None)
            case Observe():
                end = self._dead.get(effect.attempt)
                if end is not None:
                    self.perform(self.core.ended(effect.attempt, end, self.world.wall))
            case FetchObject():
                self._fetch(effect)
            case FetchBlob():
                self.perform(self.core.have(effect.blob))
            case AdoptTree():
                self._adopt(effect)
            case DropObject():
                self.disk.pop(effect.manifest, None)
                self.perform(self.core.dropped(effect.manifest, self.world.wall))
            case Write():
                pass

    def tell(self) -> None:
        """Send what there is to report."""
        while self.up and self.core.waiting:
            self.world.control.reports(self, self.core.batch(BATCH))

    def renew(self) -> None:
        """Renew the lease, as an agent does all the time."""
        self.world.control.reports(self, self.core.batch(0))

    # -- attempts --------------------------------------------------------------------------------------------------

    def _start(self, launch: Launch) -> None:
        attempt, world, core = launch.attempt, self.world, self.core
        if attempt in self._runs:
            return
        boot = world.boot
        if not core.lease_left_us(boot):
            self.renew()
        for rank in range(len(launch.nodes)):
            claim, effects = core.claim(attempt, attempt, rank, boot)
            if not claim.granted:
                raise AssertionError(f"{attempt}: rank {rank} may not start: {claim.reason}")
            self.perform(effects)
        self.perform(core.started(attempt, world.wall, self._nodes(launch)))
        run = self._runs[attempt] = Run(launch, world.agenda.now, world.work[launch.job])
        world.meter.run(self.name, launch.power_w)
        self._plan_end(run)

    def _nodes(self, launch: Launch) -> tuple[NodeName, ...]:
        names = self._names
        found: dict[NodeName, None] = {}
        for index in launch.nodes:
            key = (launch.flavor, index)
            if key not in names:
                names[key] = NodeName(f"{launch.flavor}-{index}")
            found[names[key]] = None
        return tuple(found)

    def _plan_end(self, run: Run) -> None:
        launch, work = run.launch, run.work
        rest_us = max(1_000, work.total_us - launch.covered_us)
        end = EngineEnd(Outcome.SUCCEEDED, Reason(Code.EXIT))
        if ordinal_of(launch.attempt) <= work.failing:
            rest_us = max(1, rest_us // 2)
            end = EngineEnd(Outcome.FAILED, Reason(Code.EXIT, found=1))
        if launch.limit_us and launch.limit_us < rest_us:
            rest_us = launch.limit_us
            end = EngineEnd(Outcome.STOPPED, Reason(Code.TIME_LIMIT, wanted=launch.limit_us))
        at_us = run.began_us + rest_us
        if work.checkpoint_us and launch.checkpoint is not None:
            self._plan_save(run, 1, at_us)
        self.world.agenda.at(at_us, self._ended, run, run.plan, end)

    def _ended(self, run: Run, plan: int, end: EngineEnd) -> None:
        if plan != run.plan:
            return
        attempt, world = run.launch.attempt, self.world
        self._leave(run)
        del self._runs[attempt]
        run_us = world.agenda.now - run.began_us
        told = EngineEnd(end.outcome, end.reason, run_us, run_us, nonce=attempt)
        if end.outcome is Outcome.SUCCEEDED and run.launch.files:
            self._store(run)
        self.perform(self.core.ended(attempt, told, world.wall))
        self.tell()

    def _store(self, run: Run) -> None:
        """Keep the files that a task of a workflow wrote."""
        launch, sizes = run.launch, dict(run.work.files)
        for file in launch.files:
            manifest = ManifestId(hashlib.sha256(f"{launch.job}/{file}".encode()).hexdigest())
            self.disk[manifest] = sizes[file]
            at = self.world.wall
            told = self.core.file_stored(launch.attempt, file, manifest, size_bytes=sizes[file], at=at)
            self.perform(told)

    def _leave(self, run: Run) -> None:
        run.plan += 1
        self.world.meter.run(self.name, run.launch.power_w, -1)

    def _stop(self, effect: StopEngine) -> None:
        run = self._runs.get(effect.attempt)
        if run is None or run.stopping:
            return
        run.stopping = True
        run.plan += 1
        now = self.world.agenda.now
        if run.launch.checkpoint is None:
            saved_us, took_us = 0, min(effect.grace_us, STOP_US)
        else:
            writes_us = run.work.checkpoint_bytes * MICROS_PER_SECOND // SAVE_BYTES_PER_SECOND
            saved_us, took_us = now - run.began_us, min(effect.grace_us, STOP_US + writes_us)
        self.world.agenda.at(now + took_us, self._stopped, run, run.plan, saved_us)

    def _stopped(self, run: Run, plan: int, saved_us: int) -> None:
        if plan == run.plan:
            if saved_us:
                self._checkpoint(run, "stop", saved_us)
            self._ended(run, plan, EngineEnd(Outcome.STOPPED, Reason(Code.SIGNAL, found=15)))

    def _plan_save(self, run: Run, number: int, end_us: int) -> None:
        at_us = run.began_us + number * run.work.checkpoint_us
        if at_us < end_us:
            self.world.agenda.at(at_us, self._save, run, run.plan, number, end_us)

    def _save(self, run: Run, plan: int, number: int, end_us: int) -> None:
        if plan == run.plan:
            self._checkpoint(run, f"step-{number:06d}", number * run.work.checkpoint_us)
            self.tell()
            self._plan_save(run, number + 1, end_us)

    def _checkpoint(self, run: Run, name: str, run_us: int) -> None:
        attempt, size_bytes = run.launch.attempt, run.work.checkpoint_bytes
        manifest = ManifestId(hashlib.sha256(f"{attempt}/{name}".encode()).hexdigest())
        self.disk[manifest] = size_bytes
        told = self.core.checkpoint(attempt, name, manifest, size_bytes=size_bytes, run_us=run_us, at=self.world.wall)
        self.perform(told)

    # -- data ------------------------------------------------------------------------------------------------------

    def _adopt(self, effect: AdoptTree) -> None:
        name, version = effect.adopt.dataset, effect.adopt.version
        size_bytes = self.trees[name, version]
        manifest = ManifestId(hashlib.sha256(f"{name}@{version}".encode()).hexdigest())
        self.disk[manifest] = size_bytes
        at = self.world.wall
        self.perform(self.core.adopted(name, version, manifest, size_bytes=size_bytes, detail="", at=at))

    def _fetch(self, effect: FetchObject) -> None:
        fetch, world = effect.fetch, self.world
        if fetch.transfer in self._fetching:
            return
        life = self._lives
        if fetch.manifest in self.disk:
            world.agenda.at(world.agenda.now, self._fetched, fetch, life, 0, 0)
            return
        source = self.others[fetch.source]

        def done(took_us: int) -> None:
            if life == self._lives and self.up:
                self.disk[fetch.manifest] = fetch.size_bytes
                self._fetched(fetch, life, fetch.size_bytes, took_us)

        def broken() -> None:
            at_us = world.agenda.now + FETCH_TIMEOUT_US
            world.agenda.at(at_us, self._fetched, fetch, life, 0, FETCH_TIMEOUT_US)

        if source.up and fetch.manifest in source.disk:
            self._fetching.add(fetch.transfer)
            size, latency, pace = fetch.size_bytes, fetch.latency_us, fetch.bytes_per_second
            world.links.send(fetch.source, self.name, size, latency, pace=pace, done=done, broken=broken)
        else:
            broken()

    def _fetched(self, fetch: Fetch, life: int, moved_bytes: int, took_us: int) -> None:
        if life != self._lives or not self.up:
            return
        self._fetching.discard(fetch.transfer)
        stored = fetch.manifest in self.disk
        detail = "" if stored else f"{fetch.source} does not answer"
        self.perform(
            self.core.fetched(
                fetch.transfer,
                stored=stored,
                moved_bytes=moved_bytes,
                took_us=took_us,
                detail=detail,
                at=self.world.wall,
            )
        )
        self.tell()
