"""The agents' side: hello, reports, commands by long poll, answers to asks, and bytes from other sites.

The messages are those of `moyai.model.exchange`. Every one of these requests may come twice.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.model.codec import DecodeError, decode_batch
from moyai.model.commands import Adopt, Launch
from moyai.model.exchange import Ack, AskKind, Batch, Commands, Hello, Numbered, Welcome
from moyai.model.ids import SiteName, TextRef
from moyai.model.lifecycle import ATTEMPT_LIVE
from moyai.server import clock
from moyai.server.answers import ApiError, answer
from moyai.server.body import read_as, read_body
from moyai.server.params import number, seconds
from moyai.server.relay import PIECE_BYTES, Answer, AnswerStatus
from moyai.server.remote import check_still, may_fetch
from moyai.server.shell import Shell

BATCH_BYTES = 4 * 1024 * 1024
COMMANDS_OF_A_POLL = 256
TEXT_BYTES_OF_A_POLL = 8 * 1024 * 1024
MAX_WAIT_S = 60.0


def exchange_routes(shell: Shell) -> list[Route]:
    """The routes of the agents; not part of the API for people."""
    side = Exchange(shell)
    at = "/v1/exchange/{site}"
    return [
        Route(f"{at}/events", side.events, methods=["POST"]),
        Route(f"{at}/commands", side.commands, methods=["GET"]),
        Route(f"{at}/hello", side.hello, methods=["POST"]),
        Route(f"{at}/answers/{{ask}}", side.answers, methods=["POST"]),
        Route(f"{at}/from/{{source}}/manifests/{{manifest}}", side.manifest, methods=["GET"]),
        Route(f"{at}/from/{{source}}/manifests/{{manifest}}/files/{{index}}", side.file, methods=["GET"]),
    ]


class Exchange:
    """The handlers of the agents' requests."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def hello(self, request: Request) -> Response:
        """An agent comes, or comes back."""
        hello = await read_as(request, Hello, BATCH_BYTES)
        if hello.site != request.path_params["site"]:
            raise ApiError(422, f"the hello of {hello.site!r} came to {request.path_params['site']!r}")
        writer = self._shell.writer
        if not writer.writing and (back := await writer.read(lambda c: welcome_back(c, hello))) is not None:
            return answer(back)
        return answer(await writer.do(lambda c: c.hello(hello, clock.now(), clock.boot())))

    async def events(self, request: Request) -> Response:
        """Reports of a site, and the renewal of its lease. While nothing can be stored, the renewal alone."""
        site = SiteName(request.path_params["site"])
        try:
            batch = decode_batch(await read_body(request, BATCH_BYTES))
        except DecodeError as error:
            raise ApiError(400, f"the batch can't be read: {error}") from None
        writer = self._shell.writer
        if writer.writing:
            ack = await writer.do(lambda c: c.reports(site, batch, clock.now(), clock.boot()))
        else:
            ack = await writer.read(lambda c: renew(c, site, batch))
        return answer(ack) if ack.renewed else _rejoin(site)

    async def commands(self, request: Request) -> Response:
        """Commands above `after`, and open asks; waits up to `wait` seconds for the first of either."""
        site = SiteName(request.path_params["site"])
        after, term = number(request, "after", 0), number(request, "term", 0)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds(request, "wait", MAX_WAIT_S)
        shell = self._shell
        bell = shell.relay.bell(_known(await shell.writer.loaded(), site))
        while True:
            bell.clear()
            control = await shell.writer.loaded()
            check_still(request, control)
            held = control.state.sites[_known(control, site)]
            if held.term != term or not held.reachable:
                return _rejoin(site)
            numbered = control.commands(site, after, shell.writer.durable_seq)[:COMMANDS_OF_A_POLL]
            filled = await self._with_texts(numbered)
            if await request.is_disconnected():
                return Response(status_code=204)  # its agent went: an ask is not to be handed to nobody
            asks = shell.relay.open_asks(site)
            if filled or asks:
                return answer(Commands(control.epoch, term, filled, asks))
            if numbered:
                continue  # their texts are gone; what follows from that is there by now
            if shell.stopping.is_set() or not await shell.rings(bell, end - loop.time()):
                return answer(Commands(control.epoch, term))

    async def _with_texts(self, numbered: Sequence[Numbered]) -> tuple[Numbered, ...]:
        """The commands with their texts opened. A launch whose text was erased is not delivered: its job ends."""
        refs = [n.command.text for n in numbered if isinstance(n.command, Launch | Adopt)]
        if not refs:
            return tuple(numbered)
        texts = self._shell.texts
        opened = await self._shell.in_thread(lambda: texts.open_all(refs))
        filled: list[Numbered] = []
        size = 0
        for one in numbered:
            match one.command:
                case Launch():
                    text = opened.get(one.command.text)
                    if text is None:
                        await self._erased(one.command)
                        continue
                    filled.append(replace(one, text=text))
                case Adopt():
                    # Without its path the agent rejects the dataset, and says so.
                    filled.append(replace(one, text=opened.get(TextRef(one.command.text), "")))
                case _:
                    filled.append(one)
            size += len(filled[-1].text)
            if size > TEXT_BYTES_OF_A_POLL:
                break
        return tuple(filled)

    async def _erased(self, launch: Launch) -> None:
        missing = r.TextMissing(launch.job)
        await self._shell.writer.do(lambda c: (c.request(missing, clock.now()), None))

    async def answers(self, request: Request) -> Response:
        """The bytes that answer an ask."""
        site, ask = SiteName(request.path_params["site"]), request.path_params["ask"]
        data = await read_body(request, PIECE_BYTES)
        headers = request.headers
        try:
            given = Answer(
                AnswerStatus(headers.get("x-moyai-status", "ok")),
                data,
                headers.get("x-moyai-eof", "0") == "1",
                int(headers.get("x-moyai-total", "0")),
                int(headers.get("x-moyai-left-out", "0")),
                int(headers["x-moyai-offset"]) if "x-moyai-offset" in headers else None,
            )
        except ValueError as error:
            raise ApiError(400, f"an answer's headers can't be read: {error}") from None
        if not self._shell.relay.answered(site, ask, given):
            raise ApiError(410, f"nobody waits for the answer to {ask!r}")
        return Response(status_code=204)

    async def manifest(self, request: Request) -> Response:
        """The canonical bytes of a manifest that another site holds."""
        return await self._from(request, AskKind.MANIFEST, file=0, offset=0, limit=PIECE_BYTES)

    async def file(self, request: Request) -> Response:
        """A range of a file of a manifest that another site holds."""
        index = request.path_params["index"]
        if not index.isdecimal():
            raise ApiError(400, f"{index!r} is no index of a file")
        offset, limit = number(request, "offset", 0), number(request, "limit", PIECE_BYTES)
        return await self._from(request, AskKind.FILE, file=int(index), offset=offset, limit=limit)

    async def _from(self, request: Request, kind: AskKind, *, file: int, offset: int, limit: int) -> Response:
        source, manifest = SiteName(request.path_params["source"]), request.path_params["manifest"]
        control = await self._shell.writer.loaded()
        may_fetch(request, control, source, SiteName(request.path_params["site"]), manifest)
        if not control.state.sites[_known(control, source)].reachable:
            raise ApiError(502, f"{source} is out of reach")
        found = await self._shell.relay.ask(source, kind, manifest, file=file, offset=offset, limit=limit)
        match found.status:
            case AnswerStatus.OK:
                headers = {"X-Moyai-Eof": "1" if found.eof else "0", "X-Moyai-Total": str(found.total)}
                return Response(found.data, 200, headers, "application/octet-stream")
            case AnswerStatus.GONE:
                raise ApiError(410, f"{source} does not hold {manifest}")
            case AnswerStatus.ERROR:
                said = found.data[:500].decode("utf-8", "replace")
                raise ApiError(502, f"{source} can't read {manifest}: {said}")


def renew(control: Control, site: SiteName, batch: Batch) -> Ack:
    """Renew a lease and take no report: what an agent gets while nothing can be stored. It sends them again later."""
    held = control.state.sites[_known(control, site)]
    if batch.incarnation != held.incarnation or batch.term != held.term or not held.reachable:
        return Ack(control.epoch, 0, renewed=False, lease_us=0)
    control.leases.answered(site, held.term, clock.boot())
    return Ack(control.epoch, held.reports_through, renewed=True, lease_us=control.leases.lease_us)


def welcome_back(control: Control, hello: Hello) -> Welcome | None:
    """The answer to an agent that restarts in its own term, which needs nothing stored; None where a join would be."""
    held = control.state.sites[_known(control, hello.site)]
    if not held.reachable or held.incarnation != hello.incarnation:
        return None
    control.leases.answered(hello.site, held.term, clock.boot())
    attempts = control.state.attempts
    unknown = tuple(
        a
        for a in hello.attempts
        if a not in attempts or attempts[a].site != hello.site or attempts[a].state not in ATTEMPT_LIVE
    )
    return Welcome(held.term, control.epoch, control.leases.lease_us, held.reports_through, unknown)


def _known(control: Control, site: SiteName) -> SiteName:
    """The name of a declared site. Raises ApiError."""
    if site not in control.state.sites:
        raise ApiError(404, f"there is no site {site[:64]!r}")
    return site


def _rejoin(site: SiteName) -> Response:
    """The term of a site is over: its agent says hello again."""
    error = {"code": "rejoin", "message": f"the term of {site} is over; say hello again"}
    return answer({"rejoin": True, "error": error}, 409)
