"""Guards from one archive, over TCP with the secret of their attempt, against the agent's real side."""

import ast
import asyncio
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moyai.agent.engines.base import Grant
from moyai.agent.guard import REFUSED
from moyai.agent.guarding import bundle, record
from moyai.agent.guarding.proof import Seal, draw, mac
from moyai.agent.guards import Guards
from moyai.agent.messages import (
    BadMessage,
    Began,
    Challenge,
    Claim,
    Lines,
    Over,
    Poke,
    Proof,
    Renew,
    Start,
    Stop,
    encode,
)
from moyai.agent.places import Places


class Side:
    """The desk and the engine: grants each start once."""

    guards_listen = ""

    def __init__(self) -> None:
        self.waited = False
        self.grant = True
        self.got: list = []
        self.claims: list = []
        self.left_us = 30_000_000

    def meet(self, guards: Guards) -> None:
        self.guards = guards

    async def joined(self) -> bool:
        waited, self.waited = self.waited, False
        return waited

    async def claim(self, attempt, nonce, ranks) -> Grant:
        self.claims.append((attempt, nonce, list(ranks)))
        return Grant(self.grant, self.left_us, self.left_us, "" if self.grant else "no")

    def lease_left_us(self, attempts):
        return dict.fromkeys(attempts, self.left_us), self.left_us

    def granted(self, attempt, nonce) -> None:
        self.got.append(("granted", attempt, nonce))

    def began(self, began: Began) -> None:
        self.got.append(began)

    def rank_over(self, over: Over) -> None:
        self.got.append(over)

    def of(self, kind: type) -> list:
        return [message for message in self.got if isinstance(message, kind)]


class Place:
    """A site's directory with one attempt in it."""

    def __init__(self, root: Path, side: Side) -> None:
        self.places = Places(root)
        self.side = side
        self.dir = self.places.attempt("a.1")
        (self.dir / "work").mkdir(parents=True)
        (self.dir / "secret").write_text(draw())
        self.archive = bundle.put(root)
        self.guards = Guards(self.places, side, side)

    async def open(self) -> "Place":
        with_port = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = with_port.sockets[0].getsockname()[1]
        with_port.close()
        self.side.guards_listen = f"127.0.0.1:{port}"
        await self.guards.open()
        return self

    async def guard(self, script: str, *more: str, limit_us: int = 0, address: str = "") -> asyncio.subprocess.Process:
        order = Start(
            "a.1",
            1,
            ["bash", "-c", script],
            {"WORD": "x"},
            str(self.dir / "work"),
            str(self.dir),
            500_000,
            15,
            limit_us,
            0,
            1_000,
            1_000,
        )
        (self.dir / "order.json").write_bytes(encode(order))
        words = [sys.executable, "-I", "-S", str(self.archive), "--order", str(self.dir / "order.json")]
        words += [
            "--agent",
            address or f"tcp:{self.side.guards_listen}",
            "--rank",
            "0",
            "--nonce",
            "n1",
            "--patience-us",
            "3000000",
        ]
        return await asyncio.create_subprocess_exec(*words, *more, stderr=asyncio.subprocess.PIPE)

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.02)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = await Place(tmp_path, Side()).open()
    yield made
    await made.guards.close()


async def test_a_rank_runs_and_its_begin_its_output_and_its_end_are_kept_and_told(place: Place) -> None:
    done = await place.guard("echo $WORD $MOYAI_RANK $MOYAI_NONCE; exit 3")
    assert await done.wait() == 3, (await done.stderr.read()).decode()
    await place.until(lambda: place.side.of(Over))
    assert place.side.claims == [("a.1", "n1", [0])]
    assert (place.dir / "output.0").read_text() == "x 0 n1\n"
    began, over = place.side.of(Began)[0], place.side.of(Over)[0]
    kept = record.read(str(place.dir), "n1")
    assert [type(word) for word in kept] == [Began, Over]
    assert (kept[0].began_us, kept[1]) == (began.began_us, over)
    assert (over.cause, over.end.status, over.end.output_bytes) == ("exit", 3 << 8, 7)
    assert record.read(str(place.dir), "other") == []


async def test_the_agent_can_stop_it_and_ask_for_a_checkpoint(place: Place) -> None:
    script = 'trap "echo saved" USR1; trap "echo told; exit 0" TERM; echo up; while :; do sleep 0.05; done'
    done = await place.guard(script)
    out = place.dir / "output.0"
    await place.until(lambda: out.exists() and out.read_text() == "up\n" and place.guards.count("a.1"))
    place.guards.tell(Poke("a.1", 10))
    await place.until(lambda: "saved" in out.read_text())
    place.guards.tell(Stop("a.1", 15, 2_000_000))
    assert await done.wait() == 0
    await place.until(lambda: place.side.of(Over))
    assert place.side.of(Over)[0].cause == "stop"
    assert out.read_text().endswith("told\n")


async def test_its_limit_ends_it(place: Place) -> None:
    done = await place.guard("trap '' TERM; while :; do sleep 0.05; done", limit_us=300_000)
    assert await done.wait() == 137
    await place.until(lambda: place.side.of(Over))
    assert place.side.of(Over)[0].cause == "limit"


async def test_a_claim_on_a_site_that_joined_only_then_is_made_again(place: Place) -> None:
    place.side.waited = True
    done = await place.guard("true")
    assert await done.wait() == 0
    assert len(place.side.claims) == 1


async def test_refused_it_leaves_nothing(place: Place) -> None:
    place.side.grant = False
    done = await place.guard("touch ran")
    assert await done.wait() == REFUSED
    assert not (place.dir / "work/ran").exists()
    assert not (place.dir / "output.0").exists()


async def test_an_agent_that_does_not_know_the_secret_is_not_believed(place: Place) -> None:
    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode(Challenge(draw())))
        said = next(Lines().feed(await reader.readuntil(b"\n")))
        writer.write(encode(Proof("a.1", draw(), said.mac)))
        writer.write(encode(Claim("a.1", "n1", [0])))

    server = await asyncio.start_server(lie, "127.0.0.1", 0)
    done = await place.guard("touch ran", address=f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}")
    _, said = await done.communicate()
    assert done.returncode == REFUSED
    assert b"who answers there is not the agent" in said
    server.close()


async def test_who_does_not_know_the_secret_is_hung_up_on(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    host, _, port = place.side.guards_listen.rpartition(":")
    for attempt, mark in (("a.1", "0" * 64), ("../x", ""), ("gone.1", "1")):
        reader, writer = await asyncio.open_connection(host, int(port))
        said = next(Lines().feed(await reader.readuntil(b"\n")))
        assert isinstance(said, Challenge)
        writer.write(encode(Proof(attempt, draw(), mark)) + encode(Claim("a.1", "n1", [0])))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        writer.close()
    assert "does not know the secret of a.1" in caplog.text
    assert not place.side.claims


@pytest.mark.parametrize(
    "message",
    [Claim("b.1", "n", [0]), Renew(1, ["b.1"]), Renew("x", ["a.1"]), Claim("a.1", "n", ["x"]), Stop("a.1", 9, 0)],
)
async def test_a_guard_speaks_for_its_own_attempt_and_makes_sense(place: Place, message) -> None:
    host, _, port = place.side.guards_listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    said = next(Lines().feed(await reader.readuntil(b"\n")))
    secret, own = (place.dir / "secret").read_bytes(), draw()
    writer.write(encode(Proof("a.1", own, mac(secret, "guard", said.challenge, own, "a.1"))))
    await reader.readuntil(b"\n")
    writer.write(Seal(secret, said.challenge, own, is_agent=False).seal(encode(message)))
    assert await reader.read() == b""
    assert not place.side.claims


def test_a_line_counts_once_and_in_its_order() -> None:
    agent, guard = Seal(b"s" * 32, "a", "b", is_agent=True), Seal(b"s" * 32, "a", "b", is_agent=False)
    first, second = guard.seal(b"one\n"), guard.seal(b"two\n")
    assert agent.unseal(first[:-1]) == b"one"
    for bad in (first, second.replace(b"two", b"twq"), b"", b"\xff"):
        with pytest.raises(BadMessage):
            agent.unseal(bad.rstrip(b"\n"))
    assert agent.unseal(second[:-1]) == b"two"
    with pytest.raises(BadMessage):
        guard.unseal(first[:-1])  # its own, sent back


def test_the_archive_holds_what_it_imports_and_is_python_3_9(tmp_path: Path) -> None:
    path = bundle.put(tmp_path)
    before = path.stat().st_mtime_ns
    bundle.put(tmp_path)
    assert path.stat().st_mtime_ns == before
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        for name in names:
            tree = ast.parse(archive.read(name), feature_version=(3, 9))
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("moyai"):
                    as_file = node.module.replace(".", "/")
                    assert f"{as_file}.py" in names or f"{as_file}/__init__.py" in names, (
                        f"{name} imports {node.module}"
                    )
