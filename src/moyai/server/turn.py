"""From a shared log to its leader: open it, stand by while another leads, and come back when the place was taken."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import URL

from moyai.agent.scrape import Listener
from moyai.model.views import Health
from moyai.server import clock
from moyai.server.blobs import SharedBlobs
from moyai.server.http import HttpServer, http_config
from moyai.server.layout import Layout
from moyai.server.leading import whereabouts
from moyai.server.metrics import standby_pages
from moyai.server.opening import Opened, kept_log
from moyai.server.shared_keys import SharedKeys
from moyai.server.standby import Standby, StandbyApp, Taken, standby_health
from moyai.server.tls import Door
from moyai.store.blobs import StoredBlobs
from moyai.store.keychecks import KeyChecks
from moyai.store.log import Log
from moyai.trust.io.filekeys import FileKeys

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOG = logging.getLogger("moyai.server")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a control plane of a shared log needs to wait for its turn."""

    layout: Layout
    url: URL
    sockets: Sequence[socket.socket]
    door: Door | None
    lease_us: int  # the leader's own
    site_lease_us: int
    watched: socket.socket | None = None  # for those who read the metrics

    @property
    def place(self) -> str:
        """The log, in words."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)

    async def wait(self) -> Opened | None:
        """The log, taken over; None where the process was told to end first.

        Raises LogError, KeyTrouble, CorruptRecord or BrokenInvariant.
        """
        log = Log.open(self.url)
        keys = FileKeys(self.layout.keys)
        shared = SharedKeys(keys, KeyChecks(log.session), log.place)
        shared.check_all()
        kept = kept_log(log, keys)
        agents = self.door.address if self.door is not None else ""
        standby = Standby(kept, whereabouts(self.layout.root, agents), self.lease_us)
        scan_until = kept.scan_before_start()
        standby.follow()
        taken = standby.try_take() or await self._stand_by(standby)
        if taken is None:
            log.close()
            return None
        kept.epoch = taken.epoch
        blobs = SharedBlobs(self.layout.blobs, StoredBlobs(log.session))
        _LOG.info("leading: epoch %d, event %d", taken.epoch, taken.state.seq)
        return Opened(kept, keys, taken.state, scan_until, taken.leading, shared.tenant_key, blobs, self.lease_us)

    async def _stand_by(self, standby: Standby) -> Taken | None:
        loop, stop = asyncio.get_running_loop(), threading.Event()
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop.set)
        started_at = clock.now()
        directory, lease_us = str(self.layout.root), self.site_lease_us

        def health(of: Standby) -> Health:
            return standby_health(of, directory=directory, pid=os.getpid(), started_at=started_at, lease_us=lease_us)

        app = StandbyApp(standby, os.geteuid(), health)
        listener = Listener(standby_pages(lambda: health(standby)))
        if self.watched is not None:
            await listener.open(self.watched.dup())
        # They close the sockets that they are given; the leader will need these.
        # Their answers are short, and the one who takes over has no time for lines that close slowly.
        servers = [(HttpServer(http_config(app, patience_s=0)), [sock.dup() for sock in self.sockets])]
        if self.door is not None:
            servers.append((HttpServer(http_config(app, self.door, patience_s=0)), [self.door.sock.dup()]))
        serving = [loop.create_task(server.serve(sockets=socks)) for server, socks in servers]
        self.layout.say(os.getpid(), 0, "", self.door.address if self.door is not None else "")
        leader = standby.leader.where if standby.leader is not None else ""
        _LOG.info("standing by; the leader: %s", leader)
        with suppress(OSError):  # whoever read it may be gone
            print(f"Moyai stands by; {leader} leads. Ctrl-C ends it.", flush=True)
        try:
            taken = await asyncio.to_thread(standby.run, stop)
        finally:
            for server, _ in servers:
                server.should_exit = True
            await asyncio.gather(*serving)
            await listener.close()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        if taken is not None and stop.is_set():
            taken.leading.resign()
            return None
        return taken
