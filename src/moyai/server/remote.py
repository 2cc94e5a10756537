"""Who comes by TLS: agents of other machines. Each may reach the paths of its own site, by a certificate that counts.

Without a certificate one may fetch the CA's root and join by a token; nothing else is there.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.types import Scope

from moyai.control.core import Control, Refused
from moyai.control.identity import check_presented
from moyai.model.ids import SiteName
from moyai.server import clock
from moyai.server.answers import ApiError, of_refused
from moyai.server.auth import EXCHANGE, JOIN, ROOT
from moyai.server.protocol import PEER, Peer
from moyai.server.tls import Seldom


class RemoteGate:
    """Looks at each request that came by TLS. What it refuses is said in the server's log, seldom."""

    def __init__(self, control: Callable[[], Control], seldom: Seldom | None = None) -> None:
        self._control = control
        self._seldom = seldom or Seldom()

    def __call__(self, scope: Scope, peer: Peer) -> None:
        """Raises ApiError where the request may not pass."""
        try:
            self._check(scope, peer)
        except ApiError as error:
            address = (scope.get("client") or ("an unknown address", 0))[0]
            who = f"the agent of {peer.shown.site}" if peer.shown else "somebody without a certificate"
            matter = f"{error.view.code} {peer.shown.site if peer.shown else address}"
            self._seldom.say(matter, f"{who} at {address} was refused: {error.view.message}")
            raise

    def _check(self, scope: Scope, peer: Peer) -> None:
        path: str = scope["path"]
        if path in (JOIN, ROOT):
            return
        if not path.startswith(EXCHANGE):
            raise ApiError(403, "agents alone are served here", "people come by the Unix socket", "agents-only")
        if peer.shown is None:
            hint = "join first: moyai agent join --control URL --token TOKEN --site site.yaml"
            raise ApiError(401, "this request came without a site's certificate", hint, "no-certificate")
        asked = path[len(EXCHANGE) :].partition("/")[0]
        if asked != peer.shown.site:
            said = f"the certificate of {peer.shown.site} was shown for {asked[:64]!r}"
            raise ApiError(403, said, "each site has a certificate of its own", "wrong-site")
        try:
            check_presented(self._control().state, peer.shown, clock.now())
        except Refused as refused:
            raise of_refused(refused) from None


def check_still(request: Request, control: Control) -> None:
    """Whether the certificate of a request that waited still counts. Raises Refused."""
    peer = request.scope["state"].get(PEER)
    if isinstance(peer, Peer) and peer.shown is not None:
        check_presented(control.state, peer.shown, clock.now())


def may_fetch(request: Request, control: Control, source: SiteName, site: SiteName, manifest: str) -> None:
    """An agent from elsewhere gets of another site what control told it to copy, nothing else. Raises ApiError."""
    if not _is_remote(request):
        return
    transfers = control.state.transfers.values()
    if not any((t.source, t.target, t.manifest) == (source, site, manifest) for t in transfers):
        raise ApiError(410, f"{site} is to copy nothing such from {source}")


def may_have_blob(request: Request, control: Control, site: SiteName, blob: str) -> None:
    """An agent from elsewhere gets the working directories of its own attempts. Raises ApiError."""
    if not _is_remote(request):
        return
    state = control.state
    mine = (a for a in control.indexes.live if state.attempts[a].site == site)
    if not any(state.jobs[state.attempts[a].job].order.workdir == blob for a in mine):
        raise ApiError(410, f"no attempt at {site} needs this working directory")


def _is_remote(request: Request) -> bool:
    peer = request.scope["state"].get(PEER)
    return isinstance(peer, Peer) and peer.remote
