"""What people's requests have in common: who asks, for which tenant and project, and under which key."""

import difflib
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import Field
from starlette.requests import Request

from moyai.model.ids import ProjectName, TenantName
from moyai.model.specs.base import Spec
from moyai.model.specs.fields import Name, Purpose, Read, Region, parse_name, whole
from moyai.model.specs.problems import BadValue
from moyai.server.answers import ApiError
from moyai.server.protocol import PEER, Peer

DEFAULT_TENANT = TenantName("local")
DEFAULT_PROJECT = ProjectName("default")
BROWSER = "browser"
"""The actor behind a browser's cookie: the user who runs the server, by a link that only he was shown."""

_KEY = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom and by whom a request is made."""

    tenant: TenantName
    project: ProjectName
    actor: str


@lru_cache(64)
def _user(uid: int) -> str:
    try:
        return f"user:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid:{uid}"


def actor_of(request: Request) -> str:
    """Who asks."""
    peer = request.scope["state"].get(PEER)
    if isinstance(peer, Peer) and peer.uid is not None:
        return _user(peer.uid)
    return BROWSER


def asker(body: Mapping[str, object], request: Request) -> Asker:
    """For whom a body asks. Raises ApiError."""
    tenant = TenantName(name_in(body, "tenant", DEFAULT_TENANT))
    project = ProjectName(name_in(body, "project", DEFAULT_PROJECT))
    return Asker(tenant, project, actor_of(request))


def only(body: Mapping[str, object], known: tuple[str, ...]) -> None:
    """Refuse keys that nobody would read. Raises ApiError."""
    for key in body:
        if key not in known:
            near = difflib.get_close_matches(key[:64], known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ApiError(422, f"{key[:64]!r} is no known key", hint, "bad-spec")


def name_in(body: Mapping[str, object], key: str, default: str) -> str:
    """A name from a body, or the default where it has none. Raises ApiError."""
    said = body.get(key)
    if said is None:
        return default
    if not isinstance(said, str):
        raise ApiError(422, f"{key}: must be a name", code="bad-spec")
    try:
        return parse_name(said)
    except BadValue as error:
        raise ApiError(422, f"{key}: {said[:64]!r} {error.wrong}", error.hint, "bad-spec") from None


def count_in(body: Mapping[str, object], key: str, most: int) -> int:
    """A whole number from a body, 0 where it has none. Raises ApiError."""
    said = body.get(key, 0)
    if not isinstance(said, int) or isinstance(said, bool) or not 0 <= said <= most:
        raise ApiError(422, f"{key}: must be a whole number from 0 to {most}", code="bad-spec")
    return said


def idempotency_key(request: Request) -> str:
    """The request's own key, "" where it has none. Raises ApiError."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return ""
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise ApiError(400, "Idempotency-Key: must be one word of 1 to 128 visible ASCII characters")
    return keys[0]


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise BadValue("is no absolute path", "name a directory of the site from its root, such as '/srv/corpus'")
    if len(text.encode()) > 4_000 or not text.isprintable():
        raise BadValue("is longer than 4,000 bytes or holds control characters")
    return text


class DatasetSpec(Spec):
    """A dataset that lies at a site, with the rules that travel with it."""

    name: Name = Field(description="What it is called.", examples=["corpus-ja"])
    version: Annotated[int, whole(0, 1_000_000_000)] = Field(
        default=0, description="Its version; 0 or nothing: the next one.", examples=[3]
    )
    site: Name = Field(description="The site where it lies.", examples=["fukuoka"])
    path: Annotated[str, Read(_path, str, {"type": "string", "pattern": "^/"})] = Field(
        description="The directory or file there. Sealed under the tenant's key.", examples=["/srv/corpus"]
    )
    residency: tuple[Region, ...] = Field(
        default=(), description="Where it and all that is made of it may be; anywhere if left out.", examples=[["JP"]]
    )
    purposes: tuple[Purpose, ...] = Field(
        default=(), description="What it may be used for; anything if left out.", examples=[["training"]]
    )
    tenant: Name = Field(default=DEFAULT_TENANT, description="Whose it is.", examples=["local"])
    project: Name = Field(default=DEFAULT_PROJECT, description="In which project.", examples=["default"])
