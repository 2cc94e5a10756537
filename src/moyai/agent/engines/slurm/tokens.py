"""Tokens for slurmrestd: minted from the cluster's key for each account, or read from a file.

A token is a JWT with Slurm's one claim `sun`, signed with HS256. That is one HMAC, so no library is needed.
"""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path

from moyai.agent.engines.batch.base import SchedulerDown

LIFE_S = 1_800
RENEW_S = 300
"""So long before its end a token is made anew."""


def mint(key: bytes, user: str, now_s: int, life_s: int = LIFE_S) -> str:
    """A token that lets `user` in until `now_s + life_s`, seconds of the cluster's clock."""
    head = _text({"alg": "HS256", "typ": "JWT"})
    signed = f"{head}.{_text({'exp': now_s + life_s, 'iat': now_s, 'sun': user})}"
    return f"{signed}.{_coded(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


def _text(value: dict[str, object]) -> str:
    return _coded(json.dumps(value, separators=(",", ":")).encode())


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens:
    """Tokens of accounts. The files are read again for each new token, so a changed key needs no restart."""

    def __init__(self, key: str, token: str) -> None:
        """`key`: the file of the key, or "" and `token`: the file of a token."""
        self._key = key
        self._token = token
        self._made: dict[str, tuple[int, str]] = {}  # user → until when, token

    def of(self, user: str) -> str:
        """A token for `user`. Raises SchedulerDown where its file can't be read."""
        now = int(time.time())
        until, token = self._made.get(user, (0, ""))
        if not now < until <= now + LIFE_S:  # over, or the clock was set back
            token = self._new(user, now)
            self._made[user] = (now + (LIFE_S - RENEW_S if self._key else RENEW_S), token)
        return token

    def drop(self) -> None:
        """What was made is not taken: make it anew."""
        self._made.clear()

    def _new(self, user: str, now: int) -> str:
        path = self._key or self._token
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise SchedulerDown(f"{path}: {error.strerror or error}") from None
        if self._key:
            return mint(data, user, now)
        try:
            return data.decode("ascii").strip().removeprefix("SLURM_JWT=")
        except UnicodeDecodeError:
            raise SchedulerDown(f"{path} holds no token") from None
