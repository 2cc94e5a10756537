"""Query parameters of routes that no framework reads for us."""

import math

from starlette.requests import Request

from moyai.server.answers import ApiError

MAX_NUMBER = 2**53
"""The largest integer that every JSON reader keeps whole."""


def number(request: Request, name: str, default: int) -> int:
    """A whole number ≥ 0 from the query. Raises ApiError."""
    said = request.query_params.get(name)
    if said is None or said == "":
        return default
    if not (said.isascii() and said.isdecimal()) or int(said[:20]) > MAX_NUMBER:
        raise ApiError(400, f"{name}: {said[:40]!r} is no whole number from 0 on")
    return int(said)


def seconds(request: Request, name: str, most: float) -> float:
    """A span in seconds from the query, 0 where there is none, at most `most`. Raises ApiError."""
    said = request.query_params.get(name)
    if said is None or said == "":
        return 0.0
    try:
        found = float(said[:40])
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise ApiError(400, f"{name}: {said[:40]!r} is no span in seconds")
    return min(found, most)
