"""The agent's conversation with control: hello, then reports with renewals, and commands, side by side.

Both sides resend until acknowledged and drop what they have, so that every request here may be made again.
"""

import asyncio
import logging
import random
from pathlib import Path

from moyai.agent.control import Denied, Gone, OutputAnswer, Rejoin, TooLarge, Unreachable
from moyai.agent.output import NoOutput, read_output
from moyai.agent.shell import Shell, boot
from moyai.data.io import tree
from moyai.data.manifest import BadManifest, is_id
from moyai.model.codec import DecodeError
from moyai.model.exchange import Ask, AskKind
from moyai.model.ids import AttemptId, ManifestId

LOG = logging.getLogger("moyai.agent")
EAGER_S, EAGER_FOR_S = 0.05, 5.0
"""At first control may still be starting: it is looked for that often, that long."""
AGAIN_S, AGAIN_MOST_S = 0.1, 3.0
DENIED_S = 2.0
RETRY_MOST_S = 30.0
POLL_S = 20.0
REPORTS = 500
"""Most reports in one batch."""
GATHER_S = 0.002
"""How long a report waits for others to go with it."""
FULL_S = 0.5
"""Between polls while the journal has no room for the next command."""
SAY_EVERY_S = 60.0
ASKS_AT_ONCE = 8
FOLLOW_S = 0.1
"""How often an output is looked at while an ask waits for more of it."""
PIECE_BYTES = 4 << 20


class Backoff:
    """Waits between tries: doubling, with jitter, bounded; eager at the agent's start."""

    def __init__(self, most_s: float = AGAIN_MOST_S) -> None:
        self._most_s = most_s
        self._next_s = AGAIN_S

    def reset(self) -> None:
        """It went well."""
        self._next_s = AGAIN_S

    async def wait(self, eager: bool = False) -> None:
        """Wait before the next try."""
        if eager:
            await asyncio.sleep(EAGER_S)
            return
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1.0))  # noqa: S311 — jitter, no secret
        self._next_s = min(self._next_s * 2, self._most_s)


class Seldom:
    """Says a trouble when it is another, and again after a minute; what goes on and on does not fill the log."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, float]] = {}  # what kind of trouble → the words, and when they were said

    def warn(self, what: str, error: Exception) -> None:
        """Say that `what` failed."""
        now, words = asyncio.get_running_loop().time(), str(error)
        before, at = self._said.get(what, ("", -SAY_EVERY_S))
        if words != before or now - at >= SAY_EVERY_S:
            self._said[what] = (words, now)
            LOG.warning("%s: %s", what, words)

    def forget(self, what: str) -> None:
        """It went well."""
        self._said.pop(what, None)


class Exchange:
    """Runs until cancelled."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._control = shell.control
        self._asks: set[str] = set()
        self._seldom = Seldom()
        self._slots = asyncio.Semaphore(ASKS_AT_ONCE)
        self._began = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Join; report, renew and take commands until the term is over; join again."""
        while True:
            await self._join()
            loops = [
                asyncio.create_task(self._report(), name="report"),
                asyncio.create_task(self._command(), name="command"),
            ]
            try:
                done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in loops:
                    task.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
            for task in done:
                task.result()  # a failure is the agent's
            LOG.info("the term is over: the site joins again")

    async def _join(self) -> None:
        shell, backoff = self._shell, Backoff()
        shell.leave_term()
        said = ""
        while True:
            eager = asyncio.get_running_loop().time() - self._began < EAGER_FOR_S
            hello = shell.core.hello()
            await shell.feed(())
            sent = boot()
            try:
                welcome = await self._control.hello(hello)
                if await shell.welcome(welcome, sent):
                    LOG.info("joined: term %d, epoch %d, lease %d µs", welcome.term, welcome.epoch, welcome.lease_us)
                    return
                problem = f"an older control plane answers (epoch {welcome.epoch}, term {welcome.term})"
            except Rejoin as error:
                await asyncio.sleep(min(max(error.retry_s, EAGER_S), RETRY_MOST_S))
                continue
            except Unreachable as error:
                problem = f"control can't be reached: {error}"
            except (Denied, Gone, DecodeError) as error:
                problem = f"control refuses this site: {error}"
                await asyncio.sleep(0 if eager else DENIED_S)
            if problem != said:
                said = problem
                LOG.warning("%s; trying on", problem)
            await backoff.wait(eager)

    # -- reports and renewals --------------------------------------------------------------------------------------

    async def _report(self) -> None:
        """Send reports as they come, and a renewal every third of the lease. Returns when the term is over."""
        shell = self._shell
        backoff = Backoff(max(0.05, min(AGAIN_MOST_S, shell.lease_us / 8_000_000)))
        most = REPORTS
        while True:
            shell.news.clear()
            batch = shell.core.batch(most)
            await shell.feed(())  # no report leaves before it is durable
            sent = boot()
            try:
                ack = await self._control.events(batch)
            except Rejoin:
                return
            except TooLarge as error:
                if len(batch.reports) > 1:
                    most = len(batch.reports) // 2
                    LOG.info("control takes no %d reports at once; the next batch has %d", len(batch.reports), most)
                    continue
                self._seldom.warn("control takes not even one report; this site's reports wait", error)
                await backoff.wait()
                continue
            except (Unreachable, Denied, Gone, DecodeError) as error:
                self._seldom.warn("a report did not arrive", error)
                await backoff.wait()
                continue
            backoff.reset()
            self._seldom.forget("a report did not arrive")
            most = min(REPORTS, 2 * most)
            await shell.feed(shell.core.ack(ack, sent))
            if not ack.renewed:
                return
            if shell.core.waiting:
                continue
            await self._news(sent + ack.lease_us // 3)

    async def _news(self, until_us: int) -> None:
        try:
            async with asyncio.timeout(max(0.0, (until_us - boot()) / 1_000_000)):
                await self._shell.news.wait()
            await asyncio.sleep(GATHER_S)
        except TimeoutError:
            return

    # -- commands and asks -----------------------------------------------------------------------------------------

    async def _command(self) -> None:
        """Poll for commands and asks. Returns when the term is over."""
        shell, backoff = self._shell, Backoff()
        while True:
            before = shell.core.cursor
            try:
                got = await self._control.commands(before, shell.core.meta.term, POLL_S)
            except Rejoin:
                return
            except (Unreachable, Denied, Gone, DecodeError) as error:
                self._seldom.warn("commands can't be had", error)
                await backoff.wait()
                continue
            backoff.reset()
            self._seldom.forget("commands can't be had")
            for ask in got.asks:
                if ask.ask not in self._asks:
                    self._asks.add(ask.ask)
                    shell.spawn(self._answer(ask), f"ask {ask.ask}")
            await shell.commands(got)
            if got.commands and shell.core.cursor == before:
                await asyncio.sleep(FULL_S)  # no room, or not for us: they come again

    async def _answer(self, ask: Ask) -> None:
        try:
            async with self._slots:
                answer = await self._find(ask)
                await self._control.answer(ask.ask, answer)
        except (Unreachable, Denied, Gone, Rejoin) as error:
            LOG.info("the answer to %s did not arrive: %s", ask.ask, error)  # it is asked again if anybody still waits
        finally:
            self._asks.discard(ask.ask)

    async def _find(self, ask: Ask) -> OutputAnswer:
        limit = min(ask.limit or PIECE_BYTES, PIECE_BYTES)
        objects = self._shell.places.objects
        try:
            match ask.kind:
                case AskKind.OUTPUT:
                    return await self._output(ask, limit)
                case AskKind.MANIFEST:
                    return await asyncio.to_thread(_manifest, objects, ask, limit)
                case AskKind.FILE:
                    return await asyncio.to_thread(_file, objects, ask, limit)
        except (NoOutput, FileNotFoundError) as error:
            return OutputAnswer("gone", str(error).encode())
        except (OSError, BadManifest, ValueError) as error:
            LOG.warning("%s of %s can't be read: %s", ask.kind, ask.subject, error)
            return OutputAnswer("error", str(error).encode())

    async def _output(self, ask: Ask, limit: int) -> OutputAnswer:
        directory = self._shell.places.attempt(AttemptId(ask.subject))
        until = boot() + ask.wait_us
        while True:
            piece = await asyncio.to_thread(read_output, directory, ask.file, ask.offset, limit)
            if piece.data or piece.eof or boot() >= until:
                return OutputAnswer("ok", piece.data, piece.eof, piece.total, piece.offset, piece.left_out)
            await asyncio.sleep(FOLLOW_S)


def _manifest(objects: Path, ask: Ask, limit: int) -> OutputAnswer:
    return _range(tree.manifest_path(objects, _manifest_id(ask)), ask.offset, limit)


def _file(objects: Path, ask: Ask, limit: int) -> OutputAnswer:
    name = _manifest_id(ask)
    files = tree.load_cached(objects, name).files
    if not 0 <= ask.file < len(files):
        raise ValueError(f"manifest {name} has {len(files)} files and no file {ask.file}")
    return _range(tree.tree_path(objects, name) / files[ask.file].path, ask.offset, limit)


def _manifest_id(ask: Ask) -> ManifestId:
    if not is_id(ask.subject):
        raise ValueError(f"{ask.subject!r} is no manifest id")
    return ManifestId(ask.subject)


def _range(path: Path, offset: int, limit: int) -> OutputAnswer:
    with path.open("rb") as file:
        total = file.seek(0, 2)
        file.seek(min(offset, total))
        data = file.read(limit)
    return OutputAnswer("ok", data, offset + len(data) >= total, total, offset)
