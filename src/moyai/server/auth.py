"""Who may speak to the control plane. Every request passes here before any route is looked at.

On the Unix socket the kernel says who connected: the server's own user or root. Over loopback TCP a browser shows a
cookie, which it got by a link that works once; its Host must be this server and its writes must come from its own page.
By TLS agents of other machines come: each to the paths of its own site, by a certificate (`moyai.server.remote`).
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from moyai.model.units import Boot
from moyai.server.answers import ApiError, error_answer
from moyai.server.clock import boot
from moyai.server.protocol import PEER, Peer

ENTER = "/enter"
"""The path of a one-time link."""
EXCHANGE = "/v1/exchange/"
JOIN = "/v1/join"
ROOT = "/v1/root.pem"
AGENTS = (EXCHANGE, JOIN, ROOT)
"""Where agents come; all else is people's."""
LINK_US = 10 * 60 * 1_000_000
SESSION_US = 12 * 3_600 * 1_000_000
MAX_LINKS = 16
MAX_SESSIONS = 64
_READS = frozenset({"GET", "HEAD"})


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


@dataclass(slots=True)
class Tokens:
    """Secrets with an end, kept by their hash. When there are too many, the oldest goes."""

    most: int
    lives_us: int
    clock: Callable[[], Boot] = boot
    _ends: dict[bytes, int] = field(default_factory=dict[bytes, int])  # in the order of their making

    def make(self) -> str:
        """A new secret."""
        token = secrets.token_urlsafe(32)
        while len(self._ends) >= self.most:
            del self._ends[next(iter(self._ends))]
        self._ends[_digest(token)] = self.clock() + self.lives_us
        return token

    def holds(self, token: str) -> bool:
        """Whether this secret was made here and is not over."""
        return self._find(token) is not None

    def spend(self, token: str) -> bool:
        """Whether this secret holds; from now on it doesn't."""
        found = self._find(token)
        if found is None:
            return False
        del self._ends[found]
        return True

    def _find(self, token: str) -> bytes | None:
        sought, now = _digest(token), self.clock()
        for known, end in self._ends.items():
            if hmac.compare_digest(known, sought):
                return known if now < end else None
        return None


@dataclass(slots=True)
class Browsers:
    """The links and sessions of browsers, and where they must come from."""

    port: int = 0  # 0: no browser is served
    links: Tokens = field(default_factory=lambda: Tokens(MAX_LINKS, LINK_US))
    sessions: Tokens = field(default_factory=lambda: Tokens(MAX_SESSIONS, SESSION_US))

    @property
    def url(self) -> str:
        """Where the page is, or "" where there is none."""
        return f"http://127.0.0.1:{self.port}/" if self.port else ""

    @property
    def cookie(self) -> str:
        """The cookie's name. Cookies know no ports, so that two servers on one machine need two names."""
        return f"moyai_{self.port}"

    def new_link(self) -> str:
        """A link that works once."""
        return f"http://127.0.0.1:{self.port}{ENTER}?token={self.links.make()}"

    def hosts(self) -> tuple[str, ...]:
        """What a browser may call this server. Any other name could be one that was bent to point here."""
        return (f"127.0.0.1:{self.port}", f"localhost:{self.port}")


class Gate:
    """The ASGI middleware in front of everything."""

    def __init__(
        self,
        app: ASGIApp,
        uid: int,
        browsers: Browsers,
        asked: Callable[[], None],
        remote: Callable[[Scope, Peer], None] | None = None,
    ) -> None:
        """`remote` looks at who comes by TLS, and raises ApiError; without it nobody may."""
        self._app = app
        self._remote = remote
        self._uid = uid
        self._browsers = browsers
        self._asked = asked  # told of each request of a person

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"no protocol but HTTP is served here, not {scope['type']}")
        try:
            entered = self._enter(scope)
        except ApiError as error:
            await error_answer(error)(scope, receive, send)
            return
        if entered is not None:
            await entered(scope, receive, send)
            return
        if not scope["path"].startswith(AGENTS):
            self._asked()
        await self._app(scope, receive, send)

    def _enter(self, scope: Scope) -> RedirectResponse | None:
        """Who asks, put down in the scope; or the answer to a one-time link. Raises ApiError."""
        state: dict[str, object] = scope["state"]
        peer = state.get(PEER)
        if not isinstance(peer, Peer):
            raise ApiError(401, "nobody can tell who is at the other end of this connection")
        if peer.remote:
            if self._remote is None:
                raise ApiError(403, "no agents of other machines are served here")
            self._remote(scope, peer)
            return None
        if peer.uid is not None:
            if peer.uid not in (self._uid, 0):
                raise ApiError(403, f"user {peer.uid} may not speak to the control plane of user {self._uid}")
            return None
        return self._enter_browser(scope)

    def _enter_browser(self, scope: Scope) -> RedirectResponse | None:
        headers, browsers = Headers(scope=scope), self._browsers
        host, method, path = headers.get("host", ""), scope["method"], scope["path"]
        if host not in browsers.hosts() or len(headers.getlist("host")) != 1:
            raise ApiError(403, "this server goes by 127.0.0.1 and localhost only", code="wrong-host")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            raise ApiError(403, "this request comes from another page", code="wrong-origin")
        if method not in _READS and origin is None:
            raise ApiError(403, "a write must say which page it comes from", code="wrong-origin")
        if path.startswith(EXCHANGE):
            raise ApiError(403, "agents come by the Unix socket")
        if path == ENTER and method == "GET":
            return self._spend_link(scope)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise ApiError(403, "this request comes from another page", code="wrong-origin")
        if not browsers.sessions.holds(_cookie(headers, browsers.cookie)):
            raise ApiError(401, "open the link that `moyai up` shows; each works once")
        return None

    def _spend_link(self, scope: Scope) -> RedirectResponse:
        browsers = self._browsers
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not browsers.links.spend(token):
            raise ApiError(403, "this link was used, or is too old", "ask for a new one", "link-used")
        response = RedirectResponse("/", 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
        response.set_cookie(
            browsers.cookie, browsers.sessions.make(), max_age=SESSION_US // 1_000_000, httponly=True, samesite="strict"
        )
        return response


def _cookie(headers: Mapping[str, str], name: str) -> str:
    for part in headers.get("cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""
