"""Bodies of requests, read up to a bound."""

from typing import TypeVar, cast

import msgspec
from starlette.requests import ClientDisconnect, Request

from moyai.model.codec import DecodeError, decode
from moyai.server.answers import ApiError

T = TypeVar("T")

BODY_BYTES = 1024 * 1024
"""Of a request that is none of the larger ones."""


def check_length(request: Request, limit: int) -> None:
    """Refuse a body that says it is larger than `limit` bytes. Raises ApiError."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limit:
        raise _too_large(limit)


async def read_body(request: Request, limit: int = BODY_BYTES) -> bytes:
    """The whole body, at most `limit` bytes. Raises ApiError."""
    check_length(request, limit)
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            pieces.append(piece)
    except ClientDisconnect:
        raise ApiError(400, "the connection ended before the request did") from None
    return b"".join(pieces)


async def read_as(request: Request, kind: type[T], limit: int = BODY_BYTES) -> T:
    """The body as a value of type `kind`. Raises ApiError."""
    return body_as(await read_body(request, limit), kind)


def body_as(data: bytes, kind: type[T]) -> T:
    """JSON as a value of type `kind`. Raises ApiError."""
    try:
        return decode(data, kind)
    except DecodeError as error:
        raise ApiError(400, f"the body can't be read: {error}") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None


async def read_object(request: Request) -> dict[str, object]:
    """The body as a JSON object of whatever. Raises ApiError."""
    data = await read_body(request)
    try:
        found: object = msgspec.json.decode(data or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is no JSON: {error}") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body must be a JSON object")
    return cast(dict[str, object], found)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body is larger than {limit // 1024} KiB", "put large input into a dataset")
