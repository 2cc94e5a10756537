"""Standing by at a shared log: the state is kept warm, and the place is taken when its leader is gone.

One thread does the work: it applies events as they come, looks who leads, and waits to be told of more. The loop
meanwhile answers every request by 503 "standby".
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from moyai.control.apply import apply
from moyai.control.state import Indexes, State
from moyai.model.units import Boot
from moyai.model.views import Health, Mode
from moyai.server import clock
from moyai.server.answers import answer
from moyai.server.checkpoints import VERSION, KeptLog
from moyai.server.leading import Leased, standby_answer
from moyai.server.protocol import PEER, Peer
from moyai.store.errors import Away, Led, Unreadable, Unwritable
from moyai.store.leader import DRIFT_PPM, Leader, Seat

if TYPE_CHECKING:
    import psycopg

LOOK_S = 0.25
"""How often it is looked who leads, where nothing is told."""
AWAY_S = 1.0
"""Pause while the database can't be reached."""

_LOG = logging.getLogger("moyai.server")


@dataclass(frozen=True, slots=True)
class Taken:
    """The place was taken: the state at the log's head, and the lease."""

    state: State
    epoch: int
    leading: Leased


class Standby:
    """One control plane that waits for its turn."""

    def __init__(self, kept: KeptLog, where: str, lease_us: int, boot: Callable[[], Boot] = clock.boot) -> None:
        """`where` names it for people. Loads the state. Raises LogError, CorruptRecord or BrokenInvariant."""
        self._log = kept.log
        self._boot = boot
        self._seat = Seat(kept.log, secrets.token_hex(16), where, lease_us)
        self._state = kept.load()
        self._indexes = Indexes(self._state)
        self._beat, self._beat_since = -1, boot()
        self.leader: Leader | None = None

    @property
    def seq(self) -> int:
        """The last event that was applied."""
        return self._state.seq

    @property
    def state(self) -> State:
        """The state as far as it was followed. Another thread changes it."""
        return self._state

    def follow(self) -> int:
        """Apply what is new in the log; how many events. Raises LogError, CorruptRecord or BrokenInvariant."""
        before = self._state.seq
        if self._log.look().seq > before:
            for record in self._log.read(before, prev_hash=self._state.head_hash):
                apply(self._state, self._indexes, record)
        return self._state.seq - before

    def try_take(self) -> Taken | None:
        """Take the place if its leader is gone, and follow the log to its end. Raises as `follow`."""
        self.leader = row = self._seat.look()
        now = self._boot()
        if row.beat != self._beat:
            self._beat, self._beat_since = row.beat, now
        wait_us = self._seat.lease_us + -(-self._seat.lease_us * 3 * DRIFT_PPM // 1_000_000)
        silent = now - self._beat_since > wait_us
        if row.leads and not silent:
            return None
        sent = self._boot()
        try:
            epoch = self._seat.take(row.beat if silent else None)
        except Led:  # another one was faster
            return None
        leading = Leased(self._seat, sent, self._boot)
        try:
            self.follow()
        except BaseException:
            leading.resign()
            raise
        return Taken(self._state, epoch, leading)

    def run(self, stop: threading.Event) -> Taken | None:
        """Stand by until the place is taken, or `stop`; then None. Blocks. Raises CorruptRecord or BrokenInvariant."""
        away = False
        bell: psycopg.Connection[tuple[object, ...]] | None = None
        try:
            while not stop.is_set():
                try:
                    if bell is None or bell.closed:
                        bell = self._seat.listen()
                    self.follow()
                    if (taken := self.try_take()) is not None:
                        return taken
                    away = False
                    self._wait(bell)
                except (Away, Unreadable, Unwritable) as error:
                    if not away:
                        _LOG.warning("standing by, but %s", error)
                    away = True
                    if bell is not None:
                        bell.close()
                    stop.wait(AWAY_S)
            return None
        finally:
            if bell is not None:
                bell.close()

    def _wait(self, bell: "psycopg.Connection[tuple[object, ...]]") -> None:
        """Until something is told, or it is time to look again."""
        left_s = LOOK_S if self.leader is None else min(LOOK_S, max(0.01, self.leader.left_us / 1e6))
        begun = time.monotonic()
        self._seat.heard(bell, left_s)
        if (rest := 0.005 - (time.monotonic() - begun)) > 0:
            time.sleep(rest)  # a busy leader tells of each append: they are followed by the handful


class StandbyApp:
    """What a control plane answers that stands by: that it does, and to its own user how far it followed."""

    def __init__(self, standby: Standby, uid: int, health: Callable[[Standby], Health]) -> None:
        self._standby = standby
        self._uid = uid
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        peer = scope.get("state", {}).get(PEER)
        leader = self._standby.leader
        own = isinstance(peer, Peer) and peer.uid in (self._uid, 0)
        app: ASGIApp = standby_answer(leader.where if own and leader is not None else "")
        if own and scope["path"] == "/v1/health":
            app = answer(self._health(self._standby))
        await app(scope, receive, send)


def standby_health(standby: Standby, *, directory: str, pid: int, started_at: int, lease_us: int) -> Health:
    """How a control plane does that stands by."""
    state, leader = standby.state, standby.leader
    where = leader.where if leader is not None and leader.leads else "nobody yet"
    return Health(
        mode=Mode.STANDBY,
        problem=f"it stands by; the control plane that leads: {where}",
        version=VERSION,
        pid=pid,
        epoch=leader.epoch if leader is not None else 0,
        seq=state.seq,
        durable_seq=state.seq,
        started_at=started_at,
        uptime_us=max(0, clock.now() - started_at),
        local=False,
        directory=directory,
        url="",
        lease_us=lease_us,
        sites=len(state.sites),
        sites_joined=0,
        jobs=len(state.jobs),
        jobs_pending=0,
        jobs_active=0,
        attempts_running=0,
        plans=0,
        plan_us=0,
        plan_gap_milli=0,
        plan_problem="",
    )
