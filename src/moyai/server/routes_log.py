"""The control plane itself: its health, its events as they come, and links for browsers."""

import asyncio
import os
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from moyai.model.views import EventPage, EventView, Health, LinkToPage, Mode
from moyai.server import clock
from moyai.server.answers import ApiError, answer
from moyai.server.auth import LINK_US
from moyai.server.checkpoints import VERSION
from moyai.server.protocol import PEER
from moyai.server.shell import Shell
from moyai.server.show import event_view

MAX_EVENTS = 1_000
MAX_WAIT_S = 60.0
MAX_SEQ = 2**53


def log_routes(shell: Shell) -> APIRouter:
    """The routes of the control plane itself."""
    routes = APIRouter(tags=["control plane"])

    @routes.get("/v1/health", response_model=Health)
    async def health() -> Response:
        """How the control plane does. It answers also when nothing can be stored."""
        return answer(health_of(shell))

    @routes.get("/v1/events", response_model=EventPage)
    async def events(
        after: Annotated[int, Query(ge=0, le=MAX_SEQ)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 200,
        wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds, while there is none.")] = 0.0,
    ) -> Response:
        """Events of the log after the one given, in order; only what is durable."""
        end = asyncio.get_running_loop().time() + wait
        while True:
            shell.grown.clear()
            head = shell.writer.durable_seq
            left = end - asyncio.get_running_loop().time()
            if after < head:
                found = await shell.in_thread(partial(read_events, shell, after, min(head, after + limit)))
                return answer(EventPage(found, head))
            if left <= 0 or not await shell.rings(shell.grown, left) or shell.stopping.is_set():
                return answer(EventPage((), head))

    @routes.post("/v1/links/page", response_model=LinkToPage)
    async def link(request: Request) -> Response:
        """A link for a browser on this machine. It works once, and only the Unix socket gives it."""
        if request.scope["state"][PEER].uid is None:
            raise ApiError(403, "a browser can't make links for others")
        if not shell.browsers.port:
            raise ApiError(409, "this server serves no browser", "start it by `moyai up`, without --local", "no-page")
        return answer(LinkToPage(shell.browsers.new_link(), LINK_US))

    return routes


def read_events(shell: Shell, after: int, until: int) -> tuple[EventView, ...]:
    """Events with `after` < seq ≤ `until` from the log, each verified. Reads the log: call it in a thread."""
    return tuple(event_view(record) for record in shell.log.read(after, until))


def health_of(shell: Shell) -> Health:
    """How the control plane does."""
    writer, figures = shell.writer, shell.planner.figures
    control = writer.control
    state = control.state
    leads = writer.mode is not Mode.WRITING or shell.leading.holds()
    return Health(
        mode=writer.mode if leads else Mode.STANDBY,
        problem=writer.problem if leads else "its lease as the leader is over, and the log's database did not renew it",
        version=VERSION,
        pid=os.getpid(),
        epoch=control.epoch,
        seq=state.seq,
        durable_seq=writer.durable_seq,
        started_at=shell.started_at,
        uptime_us=max(0, clock.now() - shell.started_at),
        local=shell.local,
        directory=str(shell.directory),
        url=shell.browsers.url,
        lease_us=control.leases.lease_us,
        sites=len(state.sites),
        sites_joined=sum(s.reachable for s in state.sites.values()),
        jobs=len(state.jobs),
        jobs_pending=len(control.indexes.pending),
        jobs_active=len({state.attempts[a].job for a in control.indexes.live}),
        attempts_running=control.running(),
        plans=figures.plans,
        plan_us=figures.took_us,
        plan_gap_milli=figures.gap_milli,
        plan_problem=figures.problem,
    )
