"""The tools for faults of the network do what they say: the proxy everywhere, namespaces where root."""

import asyncio
import socket
import subprocess
import sys

import pytest

from engines.netns import Net, need_netns
from engines.proxy import Proxy, proxy_thread


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes; at the end say so."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write(b"end")
        writer.close()
    except OSError:
        writer.transport.abort()


async def read(reader: asyncio.StreamReader, size: int, seconds: float = 5) -> bytes:
    """`size` bytes, or fewer where no more come in time."""
    try:
        return await asyncio.wait_for(reader.readexactly(size), seconds)
    except asyncio.IncompleteReadError as error:
        return error.partial
    except TimeoutError:
        return b""


async def test_the_proxy_forwards_and_half_closes() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x" * 300_000)
        assert await read(reader, 300_000) == b"x" * 300_000
        writer.write_eof()
        assert await read(reader, 3) == b"end"
        assert (proxy.there.moved, proxy.connections) == (300_000, 1)
        writer.close()


async def test_a_hole_keeps_what_comes_until_it_is_healed() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.hole(there=False)  # one direction: the other side hears us, we don't hear it
        writer.write(b"abc")
        assert await read(reader, 3, 0.3) == b""
        assert proxy.there.moved == 3
        proxy.heal()
        assert await read(reader, 3) == b"abc"
        proxy.hole()
        other_reader, other = await asyncio.open_connection("127.0.0.1", proxy.port)
        other.write(b"def")
        assert await read(other_reader, 3, 0.3) == b""
        proxy.heal()
        assert await read(other_reader, 3) == b"def"
        writer.close()
        other.close()


async def test_a_cut_is_told_to_both_and_new_ones_can_be_refused() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"a")
        assert await read(reader, 1) == b"a"
        proxy.refuse = True
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(1), 5)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            late, _ = await asyncio.open_connection("127.0.0.1", proxy.port)
            await asyncio.wait_for(late.readexactly(1), 5)


async def test_bytes_can_be_lost_and_late() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.there.drop = True
        writer.write(b"lost")
        assert await read(reader, 4, 0.3) == b""
        proxy.heal()
        proxy.delay(0.2)
        loop = asyncio.get_running_loop()
        before = loop.time()
        writer.write(b"late")
        assert await read(reader, 4) == b"late"
        assert loop.time() - before >= 0.4
        writer.close()


def test_a_proxy_in_a_thread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, proxy_thread(server.getsockname()[1]) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), 5)
        client.sendall(b"hello")
        other, _ = server.accept()
        assert other.recv(5) == b"hello"
        proxy.do("cut")
        for end in (client, other):
            end.settimeout(5)
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        client.close()
        other.close()


def test_hosts_in_namespaces_are_cut_off_and_come_back() -> None:
    need_netns()
    send = "import socket,sys; s=socket.create_connection((sys.argv[1], int(sys.argv[2])), 1); s.sendall(b'x'); print(s.recv(1))"
    with Net() as net, socket.create_server((net.address, 0)) as server:
        server.settimeout(5)
        port = str(server.getsockname()[1])
        one, two = net.host(), net.host()

        def reaches() -> bool:
            process = one.start(sys.executable, "-c", send, net.address, port)
            try:
                server.settimeout(1.5)
                peer, _ = server.accept()
                peer.settimeout(1.5)
                peer.sendall(peer.recv(1))
                peer.close()
            except OSError:
                process.wait(10)
                return False
            return process.wait(10) == 0

        assert reaches()
        with net.dropped(two):
            assert reaches()
        with net.dropped(one):
            assert not reaches()
        assert reaches()
        with net.dropped(one, there=False):
            assert not reaches()
        with net.unplugged(one):
            assert not reaches()
        assert reaches()
    assert one.name not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
