"""One plain GET, within bounds, as every check of a server makes it."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

MOST_BYTES = 8 << 20
WITHIN_S = 5.0


class NoAnswer(Exception):
    """Nobody answered; the message says how that showed."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came. `date_s` is the other side's clock in seconds since 1970; None where it doesn't tell."""

    status: int
    body: bytes
    date_s: float | None

    @property
    def said(self) -> str:
        """The beginning of the body, as one line for a person."""
        return " ".join(self.body[:300].decode("utf-8", "replace").split())


def get(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    uds: Path | None = None,
    verify: ssl.SSLContext | None = None,
    within_s: float = WITHIN_S,
) -> Answered:
    """The answer to a GET, at most MOST_BYTES of it, without redirects. `verify`: how TLS is checked, if not as usual.

    Raises NoAnswer.
    """
    import httpx

    try:
        check = True if verify is None else verify
        transport = httpx.HTTPTransport(uds=None if uds is None else str(uds), verify=check)
        with (
            httpx.Client(timeout=within_s, trust_env=False, transport=transport) as client,
            client.stream("GET", url, headers=dict(headers or {})) as response,
        ):
            body = b""
            for piece in response.iter_bytes(1 << 16):
                body += piece
                if len(body) > MOST_BYTES:
                    raise NoAnswer(f"more than {MOST_BYTES} bytes came")
            return Answered(response.status_code, body, _date_s(response.headers.get("date")))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise NoAnswer(str(error) or type(error).__name__) from None


def _date_s(header: str | None) -> float | None:
    if header is None:
        return None
    try:
        return parsedate_to_datetime(header).timestamp()
    except ValueError:
        return None
