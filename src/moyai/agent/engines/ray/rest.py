"""The jobs API of a Ray cluster's head, by HTTP alone: the agent needs no Ray, and no Python of the cluster's.

Every answer is bounded and checked: a head that talks nonsense is down, and breaks nothing here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec

from moyai.agent.engines.base import EngineDown
from moyai.agent.engines.batch.base import Refused, SchedulerDown
from moyai.agent.webclient import load_httpx

if TYPE_CHECKING:
    import httpx

CONNECT_S = 3.0
ANSWER_S = 20.0
"""A head that just started takes some seconds for its first job."""
MOST_BYTES = 24 << 20
"""Of one answer; a job takes about 1 kB of a list."""
MAJOR = "2"
T = TypeVar("T")


class RayVersion(msgspec.Struct, frozen=True):
    """What `/api/version` says."""

    ray_version: str
    session_name: str = ""  # another after each restart of the head


class RayJob(msgspec.Struct, frozen=True):
    """One job of the list. Times are in ms since 1970, by the head's clock."""

    status: str
    type: str = ""
    submission_id: str | None = None  # None for a driver that somebody started by hand
    message: str | None = None
    error_type: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    driver_exit_code: int | None = None


class RayNode(msgspec.Struct, frozen=True):
    """One node of the cluster, dead ones too."""

    node_id: str
    state: str
    node_ip: str = ""
    is_head_node: bool = False
    resources_total: dict[str, float] = {}

    @property
    def alive(self) -> bool:
        """Whether it can be given work."""
        return self.state == "ALIVE"


class _NodeRows(msgspec.Struct, frozen=True):
    result: list[RayNode]


class _NodeData(msgspec.Struct, frozen=True):
    result: _NodeRows


class _NodeAnswer(msgspec.Struct, frozen=True):
    data: _NodeData


class _Stopped(msgspec.Struct, frozen=True):
    stopped: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A job to be submitted. `amounts`: what its entrypoint takes of a node; without any it runs on the head."""

    submission_id: str
    entrypoint: str
    amounts: Mapping[str, float] = field(default_factory=dict[str, float])  # by Ray's names: CPU, GPU, memory, others
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def body(self) -> dict[str, object]:
        """As the API wants it."""
        body: dict[str, object] = {
            "submission_id": self.submission_id,
            "entrypoint": self.entrypoint,
            "metadata": dict(self.metadata),
        }
        own = {"CPU": "entrypoint_num_cpus", "GPU": "entrypoint_num_gpus", "memory": "entrypoint_memory"}
        body |= {own[name]: amount for name, amount in self.amounts.items() if name in own}
        if others := {name: amount for name, amount in self.amounts.items() if name not in own}:
            body["entrypoint_resources"] = others
        return body


class RayRest:
    """One head. Every method raises SchedulerDown where it can't be reached or makes no sense."""

    def __init__(self, address: str, token_file: str) -> None:
        """`token_file`: "" where the cluster asks for none."""
        self.address = address
        self._token_file = token_file
        self._token = ""
        self._httpx = load_httpx()
        timeout = self._httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        limits = self._httpx.Limits(max_connections=8, max_keepalive_connections=4)
        self._client: httpx.AsyncClient = self._httpx.AsyncClient(
            base_url=address, timeout=timeout, limits=limits, trust_env=False
        )

    async def version(self) -> RayVersion:
        """What answers there. Raises EngineDown where it is a Ray that this version can't talk to."""
        version = _decoded(await self._get("/api/version"), RayVersion, "/api/version")
        if version.ray_version.partition(".")[0] != MAJOR:
            raise EngineDown(
                f"{self.address} is Ray {version.ray_version[:40]}; this Moyai knows Ray {MAJOR}: use such a cluster"
            )
        return version

    async def nodes(self) -> list[RayNode]:
        """The nodes it has had lately."""
        path = "/api/v0/nodes?limit=10000&detail=true"
        return _decoded(await self._get(path), _NodeAnswer, path).data.result.result

    async def listing(self) -> bytes:
        """The list of all jobs, in its own bytes, so that an unchanged one needn't be read."""
        return await self._get("/api/jobs/")

    def read_listing(self, data: bytes) -> list[RayJob]:
        """The jobs of a listing."""
        return _decoded(data, list[RayJob], "/api/jobs/")

    async def job(self, submission_id: str) -> RayJob | None:
        """One job, or None where there is none of that id."""
        path = _path(submission_id)
        status, data = await self._ask("GET", path)
        if status == 404:
            return None
        self._check(status, data, path)
        return _decoded(data, RayJob, path)

    async def submit(self, entry: Entry) -> bool:
        """Submit a job. False where one of that id is there already. Raises Refused."""
        status, data = await self._ask("POST", "/api/jobs/", msgspec.json.encode(entry.body()))
        if status == 200:
            return True
        if b"already exists" in data:
            return False
        if status == 400:
            raise Refused(f"Ray refuses it: {_last_line(data)}")
        self._check(status, data, "POST /api/jobs/")
        return True

    async def stop(self, submission_id: str) -> bool:
        """Signal a job, and kill it when its wait is over. False where nothing of it runs."""
        path = f"{_path(submission_id)}/stop"
        status, data = await self._ask("POST", path)
        if status == 404:
            return False
        self._check(status, data, path)
        return _decoded(data, _Stopped, path).stopped

    async def delete(self, submission_id: str) -> None:
        """Drop the record of a job that is over. One that is gone, or isn't over, is passed over."""
        path = _path(submission_id)
        status, data = await self._ask("DELETE", path)
        if status != 404 and b"non-terminal" not in data:
            self._check(status, data, path)

    async def logs(self, submission_id: str) -> str:
        """What its entrypoint printed; "" where that is lost."""
        path = f"{_path(submission_id)}/logs"
        status, data = await self._ask("GET", path)
        if status != 200:
            return ""
        return _decoded(data, dict[str, str], path).get("logs", "")

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def _get(self, path: str) -> bytes:
        status, data = await self._ask("GET", path)
        self._check(status, data, path)
        return data

    def _check(self, status: int, data: bytes, what: str) -> None:
        if status in (401, 403):
            where = self._token_file or "none was given; write `token:` in the site's `ray:`"
            raise SchedulerDown(f"{self.address} refuses the token ({where})")
        if status != 200:
            raise SchedulerDown(f"{self.address} answers {status} to {what}: {_last_line(data)}")

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and bytes. The token is read again where it was refused: it may have been changed."""
        if not self._token:
            self._read_token()
        status, data = await self._send(method, path, body)
        if status in (401, 403) and self._token_file:
            before = self._token
            self._read_token()
            if self._token != before:
                status, data = await self._send(method, path, body)
        return status, data

    async def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._client.stream(method, path, content=body, headers=headers) as response:
                data = bytearray()
                async for piece in response.aiter_bytes(1 << 16):
                    data += piece
                    if len(data) > MOST_BYTES:
                        raise SchedulerDown(f"{self.address} answers more than {MOST_BYTES >> 20} MiB to {path}")
                return response.status_code, bytes(data)
        except (self._httpx.TransportError, self._httpx.DecodingError) as error:
            raise SchedulerDown(f"{self.address}: {error or type(error).__name__}") from None

    def _read_token(self) -> None:
        if not self._token_file:
            return
        try:
            token = Path(self._token_file).read_text(encoding="ascii").strip()
        except OSError as error:
            raise SchedulerDown(f"{self._token_file}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise SchedulerDown(f"{self._token_file} is no token file: it holds more than letters") from None
        if not token or not token.isprintable() or len(token) > 4_096:
            raise SchedulerDown(f"{self._token_file} is no token file: write one line, the token, into it")
        self._token = token


def _path(submission_id: str) -> str:
    return f"/api/jobs/{quote(submission_id, safe='')}"


def _decoded(data: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SchedulerDown(f"what Ray answers to {what} makes no sense: {error}") from None


def _last_line(data: bytes) -> str:
    """The last line of a traceback, which says what is wrong."""
    lines = [line.strip() for line in data[-4_096:].decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if len(line) > 1), "nothing")[:300]
