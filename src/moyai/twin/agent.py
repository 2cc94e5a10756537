"""An agent's process in the twin: the real agent core in a simulated shell, on the machine of a site.

The shell does what the real one does: writes first, then acts, then answers. Its process may die at any point between.
"""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from moyai.agent.core.attempts import Held
from moyai.agent.core.core import AgentCore
from moyai.agent.core.effects import (
    AdoptTree,
    Claim,
    DropObject,
    Effect,
    FetchBlob,
    FetchObject,
    Forget,
    Observe,
    Start,
    StopEngine,
    Write,
)
from moyai.model.codec import decode_batch, decode_commands, encode
from moyai.model.events import Outcome
from moyai.model.exchange import Ack, Batch, Commands, Hello, Welcome
from moyai.model.ids import AttemptId, BlobId, ManifestId, NodeName, SiteName
from moyai.model.units import Boot
from moyai.twin.truth import Run, Violation
from moyai.twin.world import SECOND

if TYPE_CHECKING:
    from moyai.twin.site import Site

RENEW_US = 3 * SECOND
TIMEOUT_US = 2 * SECOND
POLL_US = 20 * SECOND
TEND_US = 2 * SECOND
WIRE_SHARE = 0.05  # of messages that are put through the codec; all of them would cost as much as the rest
DATASET_BYTES = 20_000_000
FILE_BYTES = 3_000_000


class Exchange:
    """What an agent asks control. Each answer comes through the callback, late, twice or never."""

    def hello(self, hello: Hello, answer: Callable[[Welcome | None], None]) -> None:
        """An agent comes; None where it must come again later."""
        raise NotImplementedError

    def batch(self, site: SiteName, batch: Batch, answer: Callable[[Ack], None]) -> None:
        """Reports, or a mere renewal."""
        raise NotImplementedError

    def poll(self, site: SiteName, after: int, term: int, answer: Callable[[Commands], None]) -> None:
        """Commands above `after`, when there are some."""
        raise NotImplementedError


class Agent:
    """One life of the agent's process."""

    def __init__(self, site: "Site") -> None:
        self.site = site
        self.world = site.world
        self.alive = True
        incarnation = f"{site.name}-{site.disk.number}"
        capabilities = ("guard",) if site.engine.guarded else ()
        self.core = AgentCore.restore(site.name, dict(site.disk.journal), incarnation, capabilities)
        self.joined = False
        self._asking = 0  # number of the batch in flight; 0: none
        self._batches = 0
        self._polls = 0
        self._hellos = 0

    def begin(self) -> None:
        """Recover, look at the engine, say hello."""
        if not self.perform(self.core.recover()):
            return
        for runs in list(self.site.engine.books.values()):
            for run in runs:
                self.site.told(run)
        self.tell_capacity()
        self._hello()
        self.world.after(TEND_US, self._tend)

    def tell_capacity(self) -> None:
        """Report the nodes that are up."""
        if self.alive:
            self._report(self.core.capacity(self.site.flavors(), self.site.machine.wall()))

    # -- effects ---------------------------------------------------------------------------------------------------

    def perform(self, effects: list[Effect]) -> bool:
        """Make the writes durable, then act. False where the process died on the way: nobody may be answered."""
        if not effects:
            return True
        site = self.site
        dies = self.world.between(1, 3) if self.world.chance(site.crash_share) else 0
        if dies == 1:
            site.kill_agent()
            return False
        acts: list[Effect] = []
        journal = site.disk.journal
        for effect in effects:
            if not isinstance(effect, Write):
                acts.append(effect)
            elif effect.value is None:
                journal.pop(effect.key, None)
            else:
                journal[effect.key] = effect.value
        if dies == 2:
            acts = acts[: self.world.between(0, len(acts))]
        for effect in acts:
            self._act(effect)
        if dies:
            site.kill_agent()
            return False
        return True

    def _act(self, effect: Effect) -> None:
        site, world = self.site, self.world
        match effect:
            case Start():
                missing = [i.manifest for i in effect.launch.inputs if i.manifest not in site.disk.objects]
                restore = effect.launch.restore
                if missing or (restore is not None and restore not in site.disk.objects):
                    raise Violation(f"{effect.launch.attempt}: started at {site.name} without its data")
                if any(node >= site.nodes for node in effect.launch.nodes):
                    world.after(1_000, self._fail, effect.launch.attempt, "its node is down")
                else:
                    site.engine.start(effect.launch)
            case StopEngine():
                if not site.engine.stop(effect.attempt, effect.grace_us):
                    world.after(1_000, self._unknown, effect.attempt)
            case Observe():
                runs = site.engine.books.get(effect.attempt)
                for run in runs or ():
                    site.told(run)
                if not runs:
                    world.after(1_000, self._unknown, effect.attempt)
            case FetchObject():
                self._fetch(effect)
            case FetchBlob():
                world.after(world.between(1_000, 200_000), self._have, effect.blob, world.chance(0.1))
            case AdoptTree():
                world.after(world.between(10_000, 2 * SECOND), self._adopt, effect)
            case DropObject():
                world.after(world.between(1_000, 50_000), self._drop, effect.manifest)
            case Forget():
                site.engine.forget(effect.attempt)
            case Write():
                pass

    def _fetch(self, effect: FetchObject) -> None:
        fetch = effect.fetch
        took_us = fetch.latency_us + fetch.size_bytes * SECOND // fetch.bytes_per_second
        self.world.after(took_us, self._fetched, effect, took_us)

    def _fetched(self, effect: FetchObject, took_us: int) -> None:
        if not self.alive:
            return
        site, fetch = self.site, effect.fetch
        source = site.others[fetch.source]
        here = fetch.manifest in site.disk.objects
        reachable = source.up and source.agent is not None and site.net.open(source.name) and site.net.open(site.name)
        stored = here or (reachable and fetch.manifest in source.disk.objects)
        if stored:
            site.keep(fetch.manifest, fetch.size_bytes)
        moved = fetch.size_bytes if stored and not here else 0
        detail = "" if stored else f"{fetch.source} does not answer"
        self._report(
            self.core.fetched(
                fetch.transfer,
                stored=stored,
                moved_bytes=moved,
                took_us=took_us,
                detail=detail,
                at=site.machine.wall(),
            )
        )

    def _have(self, blob: BlobId, fails: bool) -> None:
        if not self.alive:
            return
        if not fails:
            self._report(self.core.have(blob))
            return
        for held in list(self.core.attempts.values()):
            if held.launch.workdir == blob:
                self._fail(held.attempt, "no such archive")

    def _fail(self, attempt: AttemptId, detail: str) -> None:
        if self.alive:
            self._report(self.core.launch_failed(attempt, detail, self.site.machine.wall()))

    def _adopt(self, effect: AdoptTree) -> None:
        if not self.alive:
            return
        adopt = effect.adopt
        manifest = ManifestId(f"{adopt.dataset}-{adopt.version}-content")
        self.site.keep(manifest, DATASET_BYTES)
        at = self.site.machine.wall()
        self._report(
            self.core.adopted(adopt.dataset, adopt.version, manifest, size_bytes=DATASET_BYTES, detail="", at=at)
        )

    def _drop(self, manifest: ManifestId) -> None:
        if self.alive:
            self.site.disk.objects.pop(manifest, None)
            self._report(self.core.dropped(manifest, self.site.machine.wall()))

    def _unknown(self, attempt: AttemptId) -> None:
        if self.alive and not self.site.engine.books.get(attempt):
            self._report(self.core.forgotten(attempt, self.site.machine.boot()))

    # -- engine and guards -----------------------------------------------------------------------------------------

    def claim(self, attempt: AttemptId, nonce: str, rank: int) -> Claim | None:
        """A rank's start claim; None where the process died before it could answer."""
        claim, effects = self.core.claim(attempt, nonce, rank, self.site.machine.boot())
        if not claim.granted and self.site.all_claims:
            left = self.core.lease_left_us(self.site.machine.boot())
            return Claim(left > 0, left)
        return claim if self.perform(effects) else None

    def observe(self, run: Run) -> None:
        """The engine's news of one start."""
        if not self.alive:
            return
        at, core = self.site.machine.wall(), self.core
        if run.all_began >= 0 and not self._report(core.started(run.attempt, at, (NodeName("n"),))):
            return
        for name, manifest, size_bytes, run_us in list(run.checkpoints):
            told = core.checkpoint(run.attempt, name, manifest, size_bytes=size_bytes, run_us=run_us, at=at)
            if not self._report(told):
                return
        if run.end is not None:
            if run.end.outcome is Outcome.SUCCEEDED and not self._store_files(run):
                return
            self._report(core.ended(run.attempt, run.end, at))

    def _store_files(self, run: Run) -> bool:
        """Keep and report the files of a task that succeeded. False where they must be told again later."""
        held = self.core.attempts.get(run.attempt)
        if held is None or (held.mark.nonce and held.mark.nonce != run.nonce):
            return True  # its end counts for nothing
        for file in held.launch.files:
            content = f"{held.launch.job}/{file}" if self.site.same_files else f"{run.attempt}/{file}"
            manifest = ManifestId(hashlib.sha256(content.encode()).hexdigest())
            if self.core.going(manifest):
                self.world.after(50_000, self.observe, run)
                return False
            self.site.keep(manifest, FILE_BYTES)
            at = self.site.machine.wall()
            if not self._report(self.core.file_stored(run.attempt, file, manifest, size_bytes=FILE_BYTES, at=at)):
                return False
        return True

    def lacks(self, held: Held) -> bool:
        """Whether the engine was asked to start an attempt, and has nothing of the start that counts."""
        runs = self.site.engine.books.get(held.attempt, ())
        known = any(run.nonce == held.mark.nonce for run in runs) if held.mark.nonce else bool(runs)
        return held.asked and not known

    def _tend(self) -> None:
        """Now and then: what the engine no longer knows, and what time alone brings."""
        if not self.alive:
            return
        now = self.site.machine.boot()
        for held in list(self.core.attempts.values()):
            if self.lacks(held) and not self._report(self.core.forgotten(held.attempt, now)):
                return
        if self._report(self.core.tick(now, self.site.machine.wall())):
            self.world.after(TEND_US, self._tend)

    # -- exchange --------------------------------------------------------------------------------------------------

    def _report(self, effects: list[Effect]) -> bool:
        """Perform, and send what there is to report."""
        if not self.perform(effects):
            return False
        if self.joined and self.core.waiting and not self._asking:
            self._send_batch()
        return True

    def _hello(self) -> None:
        if not self.alive:
            return
        self.joined = False
        self._hellos += 1
        sent, site = self.site.machine.boot(), self.site
        hello = self.core.hello()

        def answer(welcome: Welcome | None) -> None:
            site.net.down(site.name, self._welcomed, sent, welcome)

        site.net.up(site.name, site.control.hello, hello, answer)
        self.world.after(TIMEOUT_US, self._no_welcome, self._hellos)

    def _no_welcome(self, hello: int) -> None:
        if self.alive and not self.joined and hello == self._hellos:
            self._hello()

    def _welcomed(self, sent: Boot, welcome: Welcome | None) -> None:
        if not self.alive or welcome is None:
            return
        if self.perform(self.core.welcome(welcome, sent, self.site.machine.wall())) and self.core.welcomed:
            if not self.joined:
                self.joined = True
                self._asking = 0
                self._poll()
            if not self._asking:
                self._send_batch()

    def _send_batch(self) -> None:
        if not self.alive or not self.joined:
            return
        self._batches += 1
        number = self._asking = self._batches
        sent, site = self.site.machine.boot(), self.site

        def answer(ack: Ack) -> None:
            site.net.down(site.name, self._acked, number, sent, ack)

        batch = self.core.batch(32)
        if self.world.chance(WIRE_SHARE) and decode_batch(encode(batch)) != batch:
            raise Violation(f"{site.name}: a batch is not itself after the wire")
        site.net.up(site.name, site.control.batch, site.name, batch, answer)
        self.world.after(TIMEOUT_US, self._no_ack, number)

    def _no_ack(self, number: int) -> None:
        if self.alive and self._asking == number:
            self._asking = 0
            self._send_batch()

    def _acked(self, number: int, sent: Boot, ack: Ack) -> None:
        if not self.alive or not self.perform(self.core.ack(ack, sent)):
            return
        if self._asking != number or ack.epoch < self.core.meta.epoch:
            return
        self._asking = 0
        if not ack.renewed:
            self._hello()
        elif self.core.waiting:
            self._send_batch()
        else:
            self.world.after(RENEW_US, self._renew, number)

    def _renew(self, number: int) -> None:
        if self.alive and not self._asking and self._batches == number:
            self._send_batch()

    def _poll(self) -> None:
        if not self.alive or not self.joined:
            return
        self._polls += 1
        number, site = self._polls, self.site

        def answer(commands: Commands) -> None:
            site.net.down(site.name, self._commanded, number, commands)

        site.net.up(site.name, site.control.poll, site.name, self.core.cursor, self.core.meta.term, answer)
        self.world.after(POLL_US + TIMEOUT_US, self._no_commands, number)

    def _no_commands(self, number: int) -> None:
        if self.alive and number == self._polls:
            self._poll()

    def _commanded(self, number: int, commands: Commands) -> None:
        if not self.alive:
            return
        if self.world.chance(WIRE_SHARE) and decode_commands(encode(commands)) != commands:
            raise Violation(f"{self.site.name}: commands are not themselves after the wire")
        if self._report(self.core.commands(commands, self.site.machine.wall())) and number == self._polls:
            self._poll()
