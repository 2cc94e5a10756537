"""What an agent of another machine asks for before and beside the exchange: the root, its certificates, its profile.

The log says what is issued; signing follows it, so that a crash between the two costs nothing: the same key asks again.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from moyai.control import requests as r
from moyai.control.core import Control, Refused
from moyai.control.identity import certificate_of
from moyai.model.envelope import Record
from moyai.model.identity import Issued, JoinRequest, RenewRequest
from moyai.model.ids import BlobId, SiteName
from moyai.model.site import SiteProfile
from moyai.model.units import Instant
from moyai.server import clock
from moyai.server.answers import ApiError, answer
from moyai.server.auth import JOIN, ROOT
from moyai.server.body import read_as
from moyai.server.remote import may_have_blob
from moyai.server.shell import Shell
from moyai.server.tls import Seldom

if TYPE_CHECKING:
    from moyai.trust.ca import Request as CertificateRequest
    from moyai.trust.io.cafiles import Authority

JOIN_BYTES = 256 * 1024
DECLARE_EVERY_S = 5.0
"""Between two changes of a site's profile, so that an agent can't fill the log by them."""


def join_routes(shell: Shell) -> list[Route]:
    """The routes; not part of the API for people."""
    side = Joining(shell)
    at = "/v1/exchange/{site}"
    return [
        Route(ROOT, side.root, methods=["GET"]),
        Route(JOIN, side.join, methods=["POST"]),
        Route(f"{at}/certificate", side.renew, methods=["POST"]),
        Route(f"{at}/profile", side.declare, methods=["POST"]),
        Route(f"{at}/blobs/{{blob}}", side.blob, methods=["GET"]),
    ]


class Joining:
    """The handlers."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._seldom = Seldom()
        self._declared: dict[SiteName, float] = {}

    async def root(self, request: Request) -> Response:
        """The CA's certificate. Nobody need trust the way it came: a token holds its fingerprint."""
        return Response(authority_of(self._shell).root.pem, media_type="application/x-pem-file")

    async def join(self, request: Request) -> Response:
        """An agent comes with a token and its site's profile, and leaves with a certificate."""
        authority = authority_of(self._shell)
        asked = await read_as(request, JoinRequest, JOIN_BYTES)
        from moyai.trust.ca import token_id

        wanted = _request(asked.request)
        not_local(self._shell, asked.profile.name)
        token, now = token_id(asked.token), clock.now()
        spend = r.SpendToken(token, asked.profile, _new(authority, wanted.key, now))

        def act(control: Control) -> tuple[Sequence[Record], Issued]:
            """Spend it; then sign what the state says was issued."""
            records = control.request(spend, now)
            serial = control.state.tokens[token].serial
            return records, _sign(control, authority, wanted, serial)

        try:
            return answer(await self._shell.writer.do(act))
        except Refused as refused:
            address = request.client.host if request.client else "an unknown address"
            self._seldom.say(f"{refused.code} {address}", f"a join from {address} was refused: {refused.message}")
            raise

    async def renew(self, request: Request) -> Response:
        """A site's next certificate, for a new key."""
        authority = authority_of(self._shell)
        wanted = _request((await read_as(request, RenewRequest, JOIN_BYTES)).request)
        site, now = SiteName(request.path_params["site"]), clock.now()
        renewal = r.RenewCertificate(site, _new(authority, wanted.key, now))

        def act(control: Control) -> tuple[Sequence[Record], Issued]:
            """Issue it, unless this key has one."""
            records = control.request(renewal, now)
            serial = certificate_of(control.state, site, wanted.key, now)
            assert serial is not None, "it was issued above, or stood already"
            return records, _sign(control, authority, wanted, serial)

        return answer(await self._shell.writer.do(act))

    async def declare(self, request: Request) -> Response:
        """What a site is now, by its own agent's word."""
        site = SiteName(request.path_params["site"])
        profile = await read_as(request, SiteProfile, JOIN_BYTES)
        control = await self._shell.writer.loaded()
        held, now = control.state.sites.get(site), asyncio.get_running_loop().time()
        if held is None or held.profile != profile:
            if now - self._declared.get(site, -DECLARE_EVERY_S) < DECLARE_EVERY_S:
                raise ApiError(429, f"{site} changed its profile a moment ago", headers={"Retry-After": "5"})
            self._declared[site] = now
        wanted = r.DeclareSite(site, profile)
        await self._shell.writer.do(lambda c: (c.request(wanted, clock.now()), None))
        return Response(status_code=204)

    async def blob(self, request: Request) -> Response:
        """The archive of a working directory that an attempt at this site needs."""
        site, blob = SiteName(request.path_params["site"]), BlobId(request.path_params["blob"])
        may_have_blob(request, await self._shell.writer.loaded(), site, blob)
        path = await self._shell.in_thread(lambda: self._shell.blobs.path(blob))
        if path is None:
            raise ApiError(404, f"there is no blob {blob[:64]!r}")
        return FileResponse(path, media_type="application/octet-stream")


def authority_of(shell: Shell) -> "Authority":
    """The CA of this control plane. Raises ApiError where it has none."""
    if shell.authority is None:
        hint = "`moyai ca init`, then `moyai up --agents HOST:PORT`"
        raise ApiError(404, "this control plane serves no agents of other machines", hint, "no-authority")
    return shell.authority


def not_local(shell: Shell, site: SiteName) -> None:
    """A site that this machine runs itself can't be joined from elsewhere. Raises ApiError."""
    pid, problem = shell.agents.standing(site)
    if pid is not None or problem:
        hint = "take it out of the fleet file first, or choose another name"
        raise ApiError(409, f"{site} is a site of the control plane's own machine", hint, "local-site")


def _new(authority: "Authority", key: str, now: Instant) -> r.NewCertificate:
    from moyai.trust.ca import BACKDATE_US
    from moyai.trust.io.cafiles import new_serial

    end = min(now + authority.life_us, authority.root.ends_at)
    return r.NewCertificate(f"{new_serial():032x}", key, Instant(now - BACKDATE_US), Instant(end))


def _request(pem: str) -> "CertificateRequest":
    from moyai.trust.ca import BadRequest, read_request

    try:
        return read_request(pem.encode())
    except BadRequest as error:
        raise ApiError(422, str(error), code="bad-certificate-request") from None


def _sign(control: Control, authority: "Authority", wanted: "CertificateRequest", serial: str) -> Issued:
    from moyai.trust.ca import Term, agent_certificate

    held = control.state.certificates[serial]
    term = Term(int(serial, 16), held.begins_at, held.ends_at)
    pem = agent_certificate(authority.root, wanted, held.site, term)
    return Issued(pem.decode(), authority.root.pem.decode(), held.ends_at)
