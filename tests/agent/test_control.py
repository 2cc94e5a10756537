"""The agent's way to its control planes: several of them, TLS with clocks and CAs that are wrong, and garbage."""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from agent.fake_control import FakeControl
from agent.site import Site, launch, text
from moyai.agent.control import Control, DecodeError, Denied, Rejoin, TooLarge, Unreachable
from moyai.agent.identity import About, Identity, NoIdentity
from moyai.agent.lines import ANSWER_BYTES, check_address, words
from moyai.model.codec import encode
from moyai.model.events import AttemptEnded
from moyai.model.exchange import Ack, Batch, Hello, Welcome
from moyai.model.ids import SiteName
from moyai.model.units import Instant
from moyai.trust import ca
from moyai.trust.io.cafiles import new_serial

OSAKA = SiteName("osaka")
HOUR = 3_600_000_000
HELLO = Hello(OSAKA, "i1", ("guard",))
WELCOME = encode(Welcome(1, 1, 15_000_000, 0))
Answer = Callable[[bytes], Awaitable[bytes]]


def now() -> int:
    return time.time_ns() // 1_000


def http(status: int, body: bytes, date: float | None = None, **headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", f"Date: {formatdate(date, usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(code: str, message: str = "no") -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "hint": "do that"}}).encode()


class Peer:
    """Answers every request by `answer`, and counts them."""

    def __init__(self, answer: bytes | Answer) -> None:
        self.answer = answer
        self.asked = 0
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    (int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")), 0
                )
                await reader.readexactly(size)
                self.asked += 1
                said = self.answer if isinstance(self.answer, bytes) else await self.answer(head)
                writer.write(said)
                await writer.drain()
                if not said.startswith(b"HTTP/1.1") or b"\r\n\r\nabc" in said:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def peers(tmp_path: Path, *answers: bytes | Answer) -> AsyncIterator[tuple[Control, list[Peer]]]:
    """A control over so many peers, each behind a Unix socket."""
    made, servers = [Peer(answer) for answer in answers], []
    for number, peer in enumerate(made):
        path = tmp_path / f"{number}"
        servers.append(await asyncio.start_unix_server(peer.serve, str(path)))
        peer.address = f"unix:{path}"
    control = Control([peer.address for peer in made], OSAKA)
    try:
        yield control, made
    finally:
        await control.close()
        for server in servers:
            server.close()


async def test_a_standby_is_passed_over(tmp_path: Path):
    async with peers(tmp_path, http(503, error("standby")), http(200, WELCOME)) as (control, made):
        with pytest.raises(Unreachable, match="standby"):
            await control.hello(HELLO)
        assert (await control.hello(HELLO)).term == 1
        assert (await control.hello(HELLO)).term == 1  # and it stays there
        assert [peer.asked for peer in made] == [1, 2]


async def test_other_troubles_of_a_leader_are_no_reason_to_leave_it(tmp_path: Path):
    async with peers(tmp_path, http(503, error("read-only")), http(200, WELCOME)) as (control, made):
        for _ in range(3):
            with pytest.raises(Unreachable, match="read-only"):
                await control.hello(HELLO)
        assert [peer.asked for peer in made] == [3, 0]


async def test_a_silent_leader_is_left_and_the_poll_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("moyai.agent.control.SEVERAL_S", 0.3)

    async def silent(_: bytes) -> bytes:
        await asyncio.sleep(60)
        return b""

    async with peers(tmp_path, silent, http(200, encode(Ack(2, 0, True, 15_000_000)))) as (control, made):
        poll = asyncio.create_task(control.commands(0, 1, 20.0))
        with pytest.raises(Unreachable):
            await control.events(Batch("i1", 1))
        with pytest.raises(Unreachable, match="left for another"):
            await asyncio.wait_for(poll, 5)
        assert (await control.events(Batch("i1", 1))).renewed
        assert made[1].asked == 1


async def test_two_requests_that_fail_at_once_move_on_by_one(tmp_path: Path):
    async with peers(tmp_path, b"", http(200, WELCOME), b"") as (control, made):
        failed = await asyncio.gather(*(control.hello(HELLO) for _ in range(4)), return_exceptions=True)
        assert all(isinstance(one, Unreachable) for one in failed)
        assert (await control.hello(HELLO)).term == 1
        assert made[2].asked == 0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nabcde", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc", Unreachable),
        (http(200, b"<html>hello</html>"), DecodeError),
        (http(200, b'{"term": "x"}'), DecodeError),
        (http(200, b"\xff" * 100), DecodeError),
        (http(302, b"", Location="http://elsewhere/"), Denied),
        (http(401, error("revoked")), Denied),
        (http(413, error("too-large")), TooLarge),
        (http(429, error("too-many")), Unreachable),
        (http(500, b"Traceback"), Unreachable),
        (http(409, b"{}"), Rejoin),
    ],
)
async def test_whatever_comes_the_agent_knows_what_to_do(tmp_path: Path, answer: bytes, kind: type[Exception]):
    async with peers(tmp_path, answer) as (control, _):
        with pytest.raises(kind) as found:
            await control.hello(HELLO)
        if kind is Denied and b"revoked" in answer:
            assert str(found.value) == "401 revoked: no; do that"


async def test_an_endless_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("moyai.agent.lines.ANSWER_BYTES", 100_000)
    assert ANSWER_BYTES >= 32 << 20
    async with peers(tmp_path, http(200, b" " * 1_000_000)) as (control, _):
        with pytest.raises(Unreachable, match="answers with more than"):
            await control.hello(HELLO)


async def test_a_clock_that_is_wrong_is_said_once_and_does_not_matter(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "moyai.agent")
    async with peers(tmp_path, http(200, WELCOME, time.time() + 3_600)) as (control, made):
        for _ in range(3):
            assert (await control.hello(HELLO)).term == 1
        made[0].answer = http(200, WELCOME)
        await control.hello(HELLO)
    assert [record.message for record in caplog.records] == [
        "this machine's clock is 60 min behind control's: leases don't mind, certificates do; set it",
        "this machine's clock and control's agree again",
    ]


# -- TLS ---------------------------------------------------------------------------------------------------------------


class Tls:
    """A control plane's end of TLS, with certificates as a test wants them."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.root = ca.make_root(ca.new_key(), new_serial(), Instant(now() - 48 * HOUR))
        self.number = 0

    def identity(self, begin: int = -HOUR, end: int = HOUR, root: ca.Root | None = None) -> Identity:
        """A site's files, with a certificate from `begin` to `end`, relative to now."""
        key, by = ca.new_key(), root or self.root
        term = ca.Term(new_serial(), Instant(now() + begin), Instant(now() + end))
        pem = ca.agent_certificate(by, ca.read_request(ca.make_request(key, OSAKA)), OSAKA, term)
        self.number += 1
        directory = self.tmp_path / f"identity{self.number}"
        directory.mkdir()
        about = About(OSAKA, Instant(now()), term.ends_at)
        Identity(directory).save(about, ca.key_pem(key), pem, self.root.pem)
        return Identity(directory).load()

    def context(self, pem: bytes | None = None, made_at: int = 0) -> ssl.SSLContext:
        """The server's side, with a certificate made that long from now, or another."""
        if pem is None:
            key = ca.new_key()
            pem = ca.key_pem(key) + ca.server_certificate(
                self.root, key, ["localhost"], serial=new_serial(), now=Instant(now() + made_at), life_us=24 * HOUR
            )
        self.number += 1
        file = self.tmp_path / f"server{self.number}.pem"
        file.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.load_verify_locations(cadata=self.root.pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


async def _plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that speaks HTTP without TLS."""
    await reader.read(1)
    writer.write(http(400, b""))
    writer.close()


async def hello_over(context: ssl.SSLContext | None, identity: Identity, times: int = 1) -> Welcome:
    """A hello to a server with this context."""
    peer = Peer(http(200, WELCOME))
    server = await asyncio.start_server(peer.serve if context else _plain, "127.0.0.1", 0, ssl=context)
    control = Control(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", OSAKA, identity)
    try:
        for _ in range(times):
            welcome = await control.hello(HELLO)
        return welcome
    finally:
        await control.close()
        server.close()


async def test_an_agent_and_its_control_plane_meet(tls: Tls):
    assert (await hello_over(tls.context(), tls.identity(), 3)).term == 1


async def test_what_is_wrong_with_tls_is_said_in_words(tls: Tls):
    foreign = ca.make_root(ca.new_key(), new_serial(), Instant(now()))
    agents = (tls.tmp_path / "identity1").joinpath("identity.pem")
    good = tls.identity()
    for context, identity, said in (
        (tls.context(made_at=HOUR), good, "clock is behind"),  # as this machine's clock an hour late would see it
        (tls.context(made_at=-25 * HOUR), good, "clock is ahead"),
        (tls.context(agents.read_bytes()), good, "of another CA|certificate"),  # a site that poses as control
        (tls.context(), tls.identity(-2 * HOUR, -HOUR), "the certificate of osaka is over: join again"),
        (tls.context(), tls.identity(root=foreign), "reset by peer|does not know the CA"),
        (None, good, "speaks no TLS"),
    ):
        with pytest.raises(Unreachable) as found:
            await hello_over(context, identity)
        assert any(part in str(found.value) for part in said.split("|")), (said, str(found.value))


async def test_a_new_certificate_is_used_while_old_requests_end(tls: Tls):
    shown: list[int] = []
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cert = writer.get_extra_info("ssl_object").getpeercert()
        while head := await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            shown.append(int(cert["serialNumber"], 16))
            if b"/commands" in head:
                await release.wait()
                writer.write(http(200, b'{"epoch":1,"term":1}'))
            else:
                writer.write(http(200, b"x"))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.context())
    identity = tls.identity()
    control = Control(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", OSAKA, identity)
    try:
        await control.piece(OSAKA, "m", 0, 0, 1)  # type: ignore[arg-type]
        poll = asyncio.create_task(control.commands(0, 1, 5.0))
        while len(shown) < 2:
            await asyncio.sleep(0.01)
        new = tls.identity()
        (identity.directory / "identity.pem").write_bytes((new.directory / "identity.pem").read_bytes())
        assert identity.changed()
        identity.load()
        control.lines.renew()
        await control.piece(OSAKA, "m", 0, 0, 1)  # type: ignore[arg-type]
        release.set()
        assert (await asyncio.wait_for(poll, 10)).term == 1
        assert shown[0] == shown[1] != shown[2]
    finally:
        await control.close()
        server.close()


def test_an_identity_that_can_not_be_used_says_why(tls: Tls, tmp_path: Path):
    with pytest.raises(NoIdentity, match="moyai agent join"):
        Identity(tmp_path / "none").load()
    bad = tls.identity()
    file = bad.directory / "identity.pem"
    file.chmod(0o640)
    with pytest.raises(NoIdentity, match="others may use it"):
        Identity(bad.directory).load()
    file.chmod(0o600)
    data = file.read_bytes()
    file.write_bytes(data.partition(b"-----BEGIN CERTIFICATE")[0])
    with pytest.raises(NoIdentity, match="join again"):
        Identity(bad.directory).load().context()
    file.write_bytes(data[5:])
    with pytest.raises(NoIdentity, match="can't be used"):
        Identity(bad.directory).load()


@pytest.mark.parametrize("address", ["", "unix:", "http://h:1", "https://h", "https://h:x", "https://h:1/x", "h:1"])
def test_addresses_are_checked(address: str):
    with pytest.raises(ValueError, match="https://HOST:PORT"):
        check_address(address)


def test_https_needs_an_identity():
    with pytest.raises(ValueError, match="join first"):
        Control("https://localhost:1", OSAKA)
    with pytest.raises(ValueError, match="--control"):
        Control([], OSAKA)


def test_words_are_kept_where_there_are_none_better():
    assert words(ConnectionRefusedError(111, "Connection refused")) == "[Errno 111] Connection refused"
    assert words(TimeoutError()) == "TimeoutError"


# -- the exchange over it ----------------------------------------------------------------------------------------------


class Narrow(FakeControl):
    """Takes no batch of more than one report."""

    refused = 0

    async def _route(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        if target.endswith("/events") and body.count(b'"number"') > 1:
            self.refused += 1
            return 413, error("too-large"), {}
        return await super()._route(method, target, headers, body)


async def test_a_batch_that_is_too_large_is_split(sites: Callable[[str, str], Site]):
    async with Narrow() as control:
        sites("osaka", control.address).start()
        await control.until(lambda: control.site("osaka").hellos)
        control.cut = True
        for number in range(6):
            await control.command("osaka", launch(f"job{number}-0123456789.1"), text("true"))
        control.cut = False
        for number in range(6):
            await control.report("osaka", AttemptEnded, f"job{number}-0123456789.1")
        assert control.refused
