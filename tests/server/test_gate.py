"""Who is let in: every route, every kind of stranger."""

import asyncio
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route

from moyai.model.units import Boot
from moyai.server.app import make_api
from moyai.server.auth import Browsers, Gate, Tokens
from moyai.server.protocol import PEER, Peer
from moyai.server.shell import Shell

UID, PORT = 1234, 4321
HOST = f"127.0.0.1:{PORT}"


def api() -> FastAPI:
    """The routes; nothing behind them is ever reached here."""
    return make_api(cast(Shell, None))


def all_routes() -> list[tuple[str, str]]:
    """(method, path) of every route, the framework's own included."""
    found: list[tuple[str, str]] = []

    def walk(routes: list[Any]) -> None:
        for route in routes:
            if isinstance(route, APIRoute | Route):
                found.extend((method, route.path) for method in sorted(route.methods or ()))
            elif hasattr(route, "original_router"):
                walk(route.original_router.routes)
            elif getattr(route, "routes", None):
                walk(route.routes)

    walk(api().router.routes)
    return found


ROUTES = all_routes()


class Asked:
    """A gate, with an application behind it that only says that it was reached."""

    def __init__(self) -> None:
        self.browsers = Browsers(PORT)
        self.people = 0
        self.gate = Gate(self.inner, UID, self.browsers, self.count)

    def count(self) -> None:
        """A person asked."""
        self.people += 1

    async def inner(self, scope: Any, receive: Any, send: Any) -> None:
        """Reached."""
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def __call__(
        self, path: str, method: str = "GET", peer: Peer | None = None, query: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and body that a request gets."""
        sent: list[dict[str, Any]] = []
        state: dict[str, object] = {} if peer is None else {PEER: peer}
        given = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": given,
            "state": state,
        }

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        asyncio.run(self.gate(scope, receive, send))
        return (
            sent[0]["status"],
            {k.decode(): v.decode() for k, v in sent[0]["headers"]},
            b"".join(m.get("body", b"") for m in sent[1:]),
        )


def plain(path: str) -> str:
    """A path with something for each of its parameters."""
    return path.replace("{", "").replace("}", "")


def test_the_enumeration_sees_all_there_is():
    paths = {p for _, p in ROUTES}
    assert len(ROUTES) > 25
    assert {"/", "/v1/openapi.json", "/v1/jobs", "/v1/exchange/{site}/hello", "/v1/blobs/{blob}"} <= paths
    assert all(p.startswith("/v1/") or p in ("/", "/lang/{lang}") for p in paths)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_a_stranger(method: str, path: str):
    asked = Asked()
    at = plain(path)
    assert asked(at, method)[0] == 401  # whose connection is not known
    assert asked(at, method, Peer(UID + 1))[0] == 403
    browser = Peer(None)
    assert asked(at, method, browser, host="evil.example")[0] == 403
    assert asked(at, method, browser)[0] == 403
    assert asked(at, method, browser, host=HOST, origin=f"http://{HOST}")[0] in (401, 403)
    cookie = f"{asked.browsers.cookie}={'x' * 43}"
    assert asked(at, method, browser, host=HOST, origin=f"http://{HOST}", cookie=cookie)[0] in (401, 403)
    assert asked.people == 0
    for mine in (UID, 0):
        assert asked(at, method, Peer(mine))[0] == 299


def session(asked: Asked) -> dict[str, str]:
    """The headers of a browser that came by a link."""
    link = asked.browsers.new_link()
    status, headers, _ = asked("/enter", peer=Peer(None), query=link.partition("?")[2], host=HOST)
    assert status == 303
    assert "HttpOnly" in headers["set-cookie"]
    assert "samesite=strict" in headers["set-cookie"].lower()
    return {"host": HOST, "cookie": headers["set-cookie"].partition(";")[0]}


def test_a_link_works_once_and_gives_a_session():
    asked = Asked()
    token = asked.browsers.new_link().partition("?")[2]
    assert asked("/enter", peer=Peer(None), query=token, host="localhost:1")[0] == 403
    assert asked("/enter", peer=Peer(None), query=token, host=HOST)[0] == 303
    status, _, body = asked("/enter", peer=Peer(None), query=token, host=HOST)
    assert status == 403
    assert b"link-used" in body
    assert asked("/", peer=Peer(None), **session(asked))[0] == 299


def test_a_browser_must_come_from_this_servers_own_page():
    asked = Asked()
    mine = session(asked)
    own = f"http://{HOST}"
    assert asked("/v1/jobs", "POST", Peer(None), **mine, origin=own)[0] == 299
    assert asked("/v1/jobs", "POST", Peer(None), **mine)[0] == 403
    assert asked("/v1/jobs", "POST", Peer(None), **mine, origin="http://evil.example")[0] == 403
    assert asked("/v1/jobs", "POST", Peer(None), **mine, origin="null")[0] == 403
    assert asked("/v1/jobs", "GET", Peer(None), **mine, origin="http://evil.example")[0] == 403
    assert asked("/v1/jobs", "GET", Peer(None), **mine, sec_fetch_site="cross-site")[0] == 403
    assert asked("/v1/jobs", "GET", Peer(None), **mine, sec_fetch_site="same-site")[0] == 403
    assert asked("/v1/jobs", "GET", Peer(None), **{**mine, "host": "evil.example"})[0] == 403
    assert asked("/v1/exchange/a/commands", "GET", Peer(None), **mine)[0] == 403


def test_secrets_end_and_are_bounded():
    now = [0]
    tokens = Tokens(3, 100, clock=lambda: Boot(now[0]))
    first = tokens.make()
    assert tokens.holds(first)
    others = [tokens.make() for _ in range(3)]
    assert not tokens.holds(first)
    assert all(tokens.holds(t) for t in others)
    assert not tokens.holds("")
    now[0] = 100
    assert not any(tokens.holds(t) for t in others)
    assert not tokens.spend(others[0])


def test_agents_do_not_count_as_people():
    asked = Asked()
    asked("/v1/exchange/a/commands", peer=Peer(UID))
    assert asked.people == 0
    asked("/v1/jobs", peer=Peer(UID))
    assert asked.people == 1
