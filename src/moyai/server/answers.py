"""Answers: views as canonical JSON, and every error in one form, with where it is and what to do."""

import math
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from moyai.control.handle import Refused
from moyai.model.codec import encode
from moyai.model.specs.problems import SHOWN, SpecError
from moyai.model.views import ErrorAnswer, ErrorView, Mode, ProblemView
from moyai.server.writer import NotStored

JSON = "application/json"

_CODES = {
    400: "bad-request",
    401: "not-authenticated",
    403: "forbidden",
    404: "not-found",
    405: "bad-method",
    408: "timeout",
    409: "conflict",
    410: "gone",
    413: "too-large",
    415: "bad-type",
    422: "refused",
    429: "too-many",
    500: "internal",
    502: "site-error",
    503: "unavailable",
    504: "site-timeout",
}
"""The word for programs where an error names none of its own."""


class ApiError(Exception):
    """An answer with a status of 400 or more."""

    def __init__(
        self,
        status: int,
        message: str,
        hint: str = "",
        code: str = "",
        *,
        where: str = "",
        headers: Mapping[str, str] | None = None,
        problems: tuple[ProblemView, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.view = ErrorView(code or _CODES.get(status, "refused"), message, where, hint, problems)
        self.headers = dict(headers or {})


def answer(view: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A view, or a message of the exchange, as JSON."""
    return Response(encode(view), status, headers, JSON)


def error_answer(error: ApiError) -> Response:
    """An error as JSON."""
    return answer(ErrorAnswer(error.view), error.status, error.headers)


def of_refused(refused: Refused) -> ApiError:
    """What control refused."""
    headers: dict[str, str] = {}
    if refused.retry_after_us:
        headers["Retry-After"] = str(max(1, math.ceil(refused.retry_after_us / 1_000_000)))
        headers["X-Moyai-Retry-Us"] = str(refused.retry_after_us)
    return ApiError(refused.status, refused.message, refused.hint, refused.code, headers=headers)


def of_not_stored(error: NotStored) -> ApiError:
    """A request that is not in effect because the log can't be written."""
    match error.mode:
        case Mode.FULL:
            hint = "free some space; the control plane tries again by itself, and nothing that it had is lost"
            retry = {"Retry-After": "2"}
            return ApiError(503, f"nothing was stored: {error.problem}", hint, "read-only", headers=retry)
        case Mode.AWAY:
            hint = "the control plane tries again by itself; send it again with the same key, and it is done once"
            retry = {"Retry-After": "2"}
            return ApiError(503, f"not stored, as far as is known: {error.problem}", hint, "read-only", headers=retry)
        case Mode.STOPPING:
            return ApiError(503, "the control plane is stopping; nothing was stored", "", "stopping")
        case _:
            hint = "see server.log; a restart reads the log again, `moyai log verify` checks it"
            return ApiError(503, f"control is read-only: {error.problem}", hint, "read-only")


def of_spec(error: SpecError, status: int = 422) -> ApiError:
    """All that is wrong in a spec; the message is its first problem, or all of them a line each."""
    problems = tuple(ProblemView(p.said, p.where, p.key, p.hint) for p in error.problems[:SHOWN])
    first = error.problems[0]
    if len(error.problems) == 1:
        said = f"{first.key}: {first.said}" if first.key else first.said
        return ApiError(status, said, first.hint, "bad-spec", where=first.where, problems=problems)
    return ApiError(status, str(error), "", "bad-spec", problems=problems)


def of_status(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> ApiError:
    """What the web framework refused by itself."""
    return ApiError(status, detail or HTTPStatus(status).phrase.lower(), headers=headers)
