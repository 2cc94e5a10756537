"""What people ask about identity: a token for a site that is to join, what was issued, and its revocation."""

import secrets
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.control.state import Certificate
from moyai.model.envelope import Record
from moyai.model.identity import AuthorityView, CertificateView, OpenTokenView, Revoked, TokenView
from moyai.model.ids import SiteName
from moyai.model.units import Instant, after
from moyai.server import clock
from moyai.server.answers import answer
from moyai.server.joining import authority_of, not_local
from moyai.server.people import actor_of
from moyai.server.shell import Shell

LIFETIME_US = 3_600_000_000
MOST_US = 7 * 86_400_000_000
SHOWN = 12
"""Digits of a token's hash that people see."""


def identity_routes(shell: Shell) -> APIRouter:
    """The routes of join tokens and certificates."""
    routes = APIRouter(tags=["identity"])

    @routes.post("/v1/sites/{site}/token", response_model=TokenView)
    async def token(
        site: str,
        request: Request,
        lifetime: Annotated[
            int, Query(ge=1_000_000, le=MOST_US, description="how long it may be used, in µs")
        ] = LIFETIME_US,
    ) -> Response:
        """Let one agent join as a site, once. The answer is the only place where the token ever stands."""
        authority = authority_of(shell)
        not_local(shell, SiteName(site))
        from moyai.trust.ca import SECRET_BYTES, token_id, token_text

        secret = secrets.token_urlsafe(SECRET_BYTES)
        now = clock.now()
        wanted = r.IssueToken(actor_of(request), token_id(secret), SiteName(site), after(now, lifetime))
        await shell.writer.do(lambda c: (c.request(wanted, now), None))
        shown = TokenView(token_text(secret, authority.root.fingerprint), site, wanted.ends_at)
        return answer(shown, headers={"Cache-Control": "no-store"})

    @routes.get("/v1/certificates", response_model=AuthorityView)
    async def certificates() -> Response:
        """The CA, the certificates that it issued, and the tokens that may still be used."""
        authority = authority_of(shell)
        now = clock.now()

        def look(control: Control) -> AuthorityView:
            """By site, the newest first."""
            state = control.state
            issued = sorted(state.certificates.items(), key=lambda item: (item[1].site, -item[1].ends_at, item[0]))
            tokens = sorted(state.tokens.items(), key=lambda item: (item[1].site, item[0]))
            return AuthorityView(
                authority.root.fingerprint,
                authority.root.ends_at,
                authority.life_us,
                tuple(_view(serial, held, now) for serial, held in issued),
                tuple(
                    OpenTokenView(name[:SHOWN], t.site, t.ends_at)
                    for name, t in tokens
                    if not t.serial and t.ends_at > now
                ),
            )

        return answer(await shell.writer.read(look))

    @routes.post("/v1/certificates/{what}/revoke", response_model=Revoked)
    async def revoke(what: str, request: Request) -> Response:
        """Take back one certificate by its serial number, or all of a site with its open tokens."""
        wanted = r.Revoke(actor_of(request), what)

        def act(control: Control) -> tuple[Sequence[Record], Revoked]:
            """What is taken back."""
            before = {s for s, c in control.state.certificates.items() if not c.revoked}
            tokens = set(control.state.tokens)
            records = control.request(wanted, clock.now())
            gone = tuple(s for s, c in sorted(control.state.certificates.items()) if c.revoked and s in before)
            return records, Revoked(gone, tuple(sorted(t[:SHOWN] for t in tokens - set(control.state.tokens))))

        return answer(await shell.writer.do(act))

    return routes


def _view(serial: str, held: Certificate, now: Instant) -> CertificateView:
    state = "revoked" if held.revoked else "over" if held.ends_at <= now else "valid"
    return CertificateView(serial, held.site, held.begins_at, held.ends_at, state)
