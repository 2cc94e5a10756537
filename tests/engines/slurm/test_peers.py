"""A slurmrestd that is not what it should be: each time a clear word, and another try."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.site import launch
from engines.slurm.site import profile
from moyai.agent.engines.base import EngineDown
from moyai.agent.engines.batch.base import SchedulerDown
from moyai.agent.engines.slurm.cluster import SlurmCluster
from moyai.agent.engines.slurm.rest import RestLink
from moyai.agent.engines.slurm.tokens import Tokens
from moyai.agent.places import Places
from moyai.model.engine import SlurmSettings

API = {"paths": {"/slurm/v0.0.38/jobs": {}, "/slurm/v0.0.37/jobs": {}}}


class Peer:
    """Answers every request in the way that was set last."""

    def __init__(self) -> None:
        self.status, self.body = 200, json.dumps(API).encode()
        self.seen: list[str] = []

    def say(self, status: int, body: object) -> None:
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (int(h.split(":")[1]) for h in head.split("\r\n") if h.lower().startswith("content-length")), 0
                )
                await reader.readexactly(length)
                self.seen.append(head)
                writer.write(
                    f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(self.body)}\r\n\r\n".encode() + self.body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[tuple[Peer, str]]:
    made = Peer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    yield made, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    return Tokens(str(key), "")


async def test_an_unknown_version_is_named_beside_those_that_are_known(peer: tuple[Peer, str], tokens: Tokens) -> None:
    made, address = peer
    made.say(200, {"paths": {"/slurm/v0.0.99/jobs": {}, "/slurmdb/v0.0.38/jobs": {}}})
    link = RestLink(address, "root", tokens)
    with pytest.raises(EngineDown, match=r"speaks API v0\.0\.99, and this agent v0\.0\.38: start slurmrestd"):
        await link.open()
    await link.close()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>", "no JSON"),
        (200, b"", "no object"),
        (200, {"jobs": 7}, "'jobs' is no list"),
        (200, {"jobs": [{"job_id": "x", "job_state": "RUNNING"}]}, "'job_id' is 'x'"),
        (200, {"jobs": [[]]}, "no object"),
        (500, {"errors": [{"error_number": -1, "description": "Failed"}]}, "answers 500: Failed.*a token"),
        (401, b"Authentication failure", "lets nobody in"),
        (503, b"", "answers 503"),
    ],
)
async def test_garbage_is_no_listing(
    peer: tuple[Peer, str], tokens: Tokens, status: int, body: object, words: str
) -> None:
    made, address = peer
    link = RestLink(address, "root", tokens)
    await link.open()
    made.say(status, body)
    with pytest.raises(SchedulerDown, match=words):
        await link.jobs()
    made.say(200, {"jobs": []})
    assert await link.jobs() == []
    await link.close()


async def test_nobody_there_is_said(tokens: Tokens) -> None:
    link = RestLink("http://127.0.0.1:1", "root", tokens)
    with pytest.raises(SchedulerDown, match="can't be reached"):
        await link.open()
    await link.close()


async def test_a_key_that_is_not_there_is_named(peer: tuple[Peer, str], tmp_path: Path) -> None:
    link = RestLink(peer[1], "root", Tokens(str(tmp_path / "gone"), ""))
    with pytest.raises(SchedulerDown, match=r"gone: No such file"):
        await link.open()
    await link.close()


async def test_a_user_that_is_not_there_is_named(tmp_path: Path, peer: tuple[Peer, str]) -> None:
    settings = SlurmSettings(rest=peer[1], token=str(tmp_path / "t"), user="nosuchuser")
    cluster = SlurmCluster(profile("tokyo"), settings, Places(tmp_path))
    with pytest.raises(EngineDown, match="'nosuchuser'"):
        await cluster.open()
    await cluster.close()


def test_a_flavor_that_is_not_there_is_refused(tmp_path: Path) -> None:
    cluster = SlurmCluster(profile("tokyo"), SlurmSettings(user="root"), Places(tmp_path))
    from dataclasses import replace

    assert "no flavor 'gpu'" in cluster.impossible(replace(launch("a.1"), flavor="gpu"))
