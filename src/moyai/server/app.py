"""The ASGI application: every route behind one gate, every error in one form."""

import logging
import os
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from moyai.control.handle import Refused
from moyai.model.views import ProblemView
from moyai.server.answers import ApiError, error_answer, of_not_stored, of_refused, of_status
from moyai.server.auth import Gate
from moyai.server.checkpoints import VERSION
from moyai.server.exchange import exchange_routes
from moyai.server.joining import join_routes
from moyai.server.leading import OnlyWhileLeading
from moyai.server.metrics import ControlMetrics, metrics_routes
from moyai.server.page import page_routes
from moyai.server.remote import RemoteGate
from moyai.server.routes_data import data_routes
from moyai.server.routes_identity import identity_routes
from moyai.server.routes_jobs import job_routes
from moyai.server.routes_log import log_routes
from moyai.server.routes_output import output_routes
from moyai.server.routes_sites import site_routes
from moyai.server.routes_workflows import workflow_routes
from moyai.server.schema import describe
from moyai.server.shell import Shell
from moyai.server.writer import NotStored
from moyai.store.errors import LogError
from moyai.trust.io.filekeys import KeyTrouble

_LOG = logging.getLogger("moyai.server")
Handler = Callable[[Request, Exception], Awaitable[Response]]


def make_app(shell: Shell, metrics: ControlMetrics, asked: Callable[[], None] = lambda: None) -> ASGIApp:
    """The application with its gate. `asked` is told of every request of a person."""
    app = make_api(shell)
    app.router.routes.extend(metrics_routes(metrics))
    led = OnlyWhileLeading(app, shell.leading)
    return Gate(led, os.geteuid(), shell.browsers, asked, RemoteGate(lambda: shell.writer.control))


def make_api(shell: Shell) -> FastAPI:
    """The routes without the gate: what the gate lets through comes here."""
    app = FastAPI(
        title="Moyai",
        version=VERSION,
        description="Many data centres as one AI computer. Every answer is JSON, but for output and blobs.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        redirect_slashes=False,
    )
    app.router.routes.extend(exchange_routes(shell))
    app.router.routes.extend(join_routes(shell))
    for routes in (job_routes, workflow_routes, output_routes, site_routes, data_routes, log_routes, identity_routes):
        app.include_router(routes(shell))
    app.router.routes.extend(page_routes(shell))
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    describe(app)
    return app


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_answer(error)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error_answer(of_refused(error))


async def _not_stored(_: Request, error: Exception) -> Response:
    assert isinstance(error, NotStored)
    return error_answer(of_not_stored(error))


async def _status(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_answer(of_status(error.status_code, str(error.detail), error.headers))


async def _bad_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems: list[ProblemView] = []
    for one in error.errors():
        key = ".".join(str(part) for part in one["loc"][1:])
        problems.append(ProblemView(str(one["msg"]).lower(), key=key))
    first = problems[0] if problems else ProblemView("can't be read")
    return error_answer(ApiError(422, f"{first.key}: {first.message}", code="bad-spec", problems=tuple(problems)))


async def _log_trouble(_: Request, error: Exception) -> Response:
    _LOG.error("%s", error)
    return error_answer(ApiError(503, str(error), "see server.log", "log-trouble"))


async def _unforeseen(request: Request, error: Exception) -> Response:
    _LOG.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_answer(ApiError(500, f"a defect of the server: {type(error).__name__}", "see server.log"))


HANDLERS: dict[type[Exception], Handler] = {
    ApiError: _api_error,
    Refused: _refused,
    NotStored: _not_stored,
    HTTPException: _status,
    RequestValidationError: _bad_parameters,
    LogError: _log_trouble,
    KeyTrouble: _log_trouble,
    Exception: _unforeseen,
}
