"""The running server: the loop's tasks, from the first answer to the orderly end."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence

from moyai.agent.scrape import Listener
from moyai.agent.tracing import open_traces
from moyai.model.envelope import Record
from moyai.model.events import SiteLost
from moyai.model.lifecycle import JOB_ENDED
from moyai.server import clock
from moyai.server.agents import Agents
from moyai.server.app import make_app
from moyai.server.checkpoints import KeptLog
from moyai.server.http import HttpServer, http_config
from moyai.server.layout import StartTrouble
from moyai.server.metrics import ControlMetrics
from moyai.server.relay import sites_told
from moyai.server.shell import Shell
from moyai.server.show import busy
from moyai.server.tls import Door
from moyai.server.writer import NotStored

COPY_S = 3_600.0
MOVE_S = 600.0
TICK_S = 0.25
"""How often control looks at the clock."""
IDLE_S = 600.0
"""A local server leaves when nothing ran and nobody asked for this long."""
SWEEP_S = 3_600.0
DOOR_S = 3_600.0
SCAN_PAUSE_S = 0.002
"""Pause after each thousand events that are checked beside the running server."""

_LOG = logging.getLogger("moyai.server")


class Serving:
    """One server from its start to its end."""

    def __init__(
        self,
        shell: Shell,
        agents: Agents,
        kept: KeptLog,
        idle_s: float = IDLE_S,
        *,
        watched: socket.socket | None = None,
        door: Door | None = None,
    ) -> None:
        """`watched`: a listening socket for those who read the metrics; `door`: that of agents of other machines."""
        self._door = door
        self._shell = shell
        self._agents = agents
        self._kept = kept
        self._idle_s = idle_s
        self._watched = watched
        self._asked_at = 0.0
        self._end = asyncio.Event()
        self.failed = ""  # why it had to end

    async def run(self, sockets: Sequence[socket.socket], scan_until: int, ready: Callable[[], None]) -> None:
        """Serve until a signal, the idle exit, or a failure from which there is no way on."""
        loop, shell = asyncio.get_running_loop(), self._shell
        self._asked()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        shell.writer.on_durable.append(self._grown)
        shell.writer.on_reload.append(self._reloaded)
        shell.writer.on_fatal = self._fail

        def lost(why: str) -> None:
            """From the thread of the lease."""
            loop.call_soon_threadsafe(shell.writer.deposed, why)

        shell.leading.watch(lost)
        shell.writer.start()
        shell.planner.start()
        self._agents.watch()
        metrics = ControlMetrics(shell)
        listener = Listener(metrics.pages())
        if self._watched is not None:
            await listener.open(self._watched)
        app = make_app(shell, metrics, self._asked)
        traces = open_traces("moyai-control", {}, os.environ)
        if traces is not None:
            from moyai.server.tracing import ControlTraces, TracedApp

            ControlTraces(shell.writer, traces)
            app = TracedApp(app, traces)
        servers: list[HttpServer] = []
        serving: list[asyncio.Task[None]] = []
        if self._door is not None:
            opened = asyncio.Event()
            servers.append(HttpServer(http_config(app, self._door), opened.set))
            serving.append(loop.create_task(servers[0].serve(sockets=[self._door.sock]), name="door"))
            await asyncio.wait((serving[0], loop.create_task(opened.wait())), return_when=asyncio.FIRST_COMPLETED)
        servers.append(HttpServer(http_config(app), ready))
        serving.append(loop.create_task(servers[-1].serve(sockets=list(sockets)), name="http"))
        beside = [
            loop.create_task(work, name=name)
            for name, work in (
                ("tick", self._tick()),
                ("copies", self._copy_ahead()),
                ("moves", self._move()),
                ("sweep", self._sweep()),
                ("warm", self._warm()),
                ("scan", self._scan(scan_until)),
                ("idle", self._idle()),
                ("door", self._renew_door()),
            )
        ]
        ended = loop.create_task(self._end.wait())
        await asyncio.wait((*serving, ended), return_when=asyncio.FIRST_COMPLETED)
        # The agents end first, while they are still heard: what they have to report is not lost, only late otherwise.
        await self._agents.stop()
        shell.stopping.set()
        shell.relay.ring_all()
        shell.grown.set()
        await shell.planner.stop()
        for task in (*beside, ended):
            task.cancel()
        await asyncio.wait((*beside, ended))
        await listener.close()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
        await shell.writer.stop(checkpoint=True)
        if traces is not None:
            await traces.close()
        shell.reads.shutdown(wait=True, cancel_futures=True)

    def _asked(self) -> None:
        self._asked_at = asyncio.get_running_loop().time()

    def _fail(self, problem: str) -> None:
        self.failed = problem
        self._end.set()

    def _grown(self, records: Sequence[Record]) -> None:
        """Records are durable: wake whom they concern."""
        shell = self._shell
        for site in sites_told(shell.writer.control, records):
            shell.relay.ring(site)
        for record in records:
            if isinstance(record.body, SiteLost):
                shell.relay.lost(record.body.site)
        shell.grown.set()
        shell.planner.look()

    def _reloaded(self) -> None:
        self._shell.relay.ring_all()
        self._shell.grown.set()
        self._shell.planner.look()

    async def _tick(self) -> None:
        writer = self._shell.writer
        while True:
            await asyncio.sleep(TICK_S)
            if not writer.writing:
                continue
            try:
                await writer.do(lambda c: (c.tick(clock.now(), clock.boot()), None))
            except NotStored as error:
                _LOG.warning("the clock's work is put off: %s", error)
            self._shell.planner.look()

    async def _copy_ahead(self) -> None:
        """Once an hour, where the policy wants it: bring datasets to where they will be asked for."""
        writer, policy = self._shell.writer, self._shell.planner.policy
        if policy.replicate_bytes_per_hour <= 0:
            return
        while True:
            await asyncio.sleep(COPY_S)
            try:
                await writer.do(lambda c: (c.replicate(clock.now(), policy), None))
            except NotStored as error:
                _LOG.warning("copies ahead of demand are put off: %s", error)

    async def _move(self) -> None:
        """Every ten minutes, where the policy wants it: move what runs to where it is cheaper."""
        writer, policy = self._shell.writer, self._shell.planner.policy
        if policy.migrations_per_round <= 0:
            return
        while True:
            await asyncio.sleep(MOVE_S)
            try:
                await writer.do(lambda c: (c.migrate(clock.now(), policy), None))
            except NotStored as error:
                _LOG.warning("moves to cheaper sites are put off: %s", error)

    async def _warm(self) -> None:
        """Import the planner once everybody is served."""
        await asyncio.sleep(0.05)
        await self._shell.planner.warm()
        self._shell.planner.look()

    async def _sweep(self) -> None:
        """Delete archives that no job needs any more."""
        shell = self._shell
        while True:
            await asyncio.sleep(SWEEP_S)
            jobs = (await shell.writer.loaded()).state.jobs.values()
            needed = {j.order.workdir for j in jobs if j.order.workdir and j.state not in JOB_ENDED}
            gone = await shell.in_thread(lambda held=needed: shell.blobs.sweep(held.__contains__))
            if gone:
                _LOG.info("%d archives that nothing needs were deleted", gone)

    async def _scan(self, until: int) -> None:
        """Check the oldest part of a long log beside the running server."""
        if not until:
            return
        await asyncio.sleep(5.0)
        import time

        shell, kept = self._shell, self._kept
        damage = await shell.in_thread(lambda: kept.scan_later(until, lambda: time.sleep(SCAN_PAUSE_S)))
        if damage is not None:
            shell.writer.become_read_only(
                f"the log is damaged at event {damage.seq}: {damage.problem}; "
                f"`moyai log export --until {damage.seq - 1} FILE` saves the events before it"
            )

    async def _renew_door(self) -> None:
        """Make the listener's own certificate anew before it is over."""
        if self._door is None:
            return
        while True:
            await asyncio.sleep(DOOR_S)
            try:
                if self._door.side.renew(clock.now()):
                    _LOG.info("the listener for agents has a new certificate")
            except StartTrouble as trouble:
                _LOG.error("the listener for agents gets no new certificate: %s", trouble.message)

    async def _idle(self) -> None:
        """A local server leaves when it is of no use."""
        shell, loop = self._shell, asyncio.get_running_loop()
        while shell.local:
            await asyncio.sleep(min(5.0, self._idle_s / 4))
            if busy(shell.writer.control):
                self._asked()
            elif loop.time() - self._asked_at >= self._idle_s:
                _LOG.info("nothing runs and nobody asks: the server leaves")
                self._end.set()
                return
