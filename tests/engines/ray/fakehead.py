"""A tiny HTTP server that says what a test wants a Ray head to say."""

import asyncio
from collections.abc import Callable


class FakeHead:
    """Answers each request by `answers[path]`, or 404. A value is (status, bytes), or a function of the request."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes] | Callable[[str, bytes], tuple[int, bytes]]] = {
            "/api/version": (200, b'{"version":"4","ray_version":"2.60.0","session_name":"s"}'),
            "/api/jobs/": (200, b"[]"),
            "/api/v0/nodes": (200, b'{"data":{"result":{"result":[]}}}'),
        }
        self.asked: list[tuple[str, str, str, bytes]] = []  # method, path, authorization, body

    async def __aenter__(self) -> "FakeHead":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *rest = head.decode().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path = target.partition("?")[0]
                self.asked.append((method, path, headers.get("authorization", ""), body))
                answer = self.answers.get(path, (404, b"not found"))
                status, data = answer(headers.get("authorization", ""), body) if callable(answer) else answer
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
