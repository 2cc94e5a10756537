"""Servers for the tests of the server."""

from collections.abc import Iterator

import pytest

from server.process import THREE_SITES, Server


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of its own, not started yet."""
    made = Server()
    yield made
    made.destroy()


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """A running server that several tests use, with its page; its one site is this machine."""
    made = Server()
    try:
        made.start(local=False)
        yield made
    finally:
        made.destroy()


@pytest.fixture
def three(server: Server) -> Server:
    """A server of its own with three sites, all joined."""
    fleet = server.root / "given.yaml"
    fleet.write_text(THREE_SITES)
    return server.start("--fleet", str(fleet), joined=True)
