"""Supervisors of other versions: adapted to, replaced once they are empty, or refused with words."""

import asyncio
from collections import deque

import pytest

from moyai.agent.engines.base import EngineDown
from moyai.agent.engines.host.link import Link, Reader, Writer
from moyai.agent.messages import VERSION, Forget, Known, Message, Start, State, decode, encode

WORK = [Known("a.1", "n", "running", 1, 1)]


class FakeLine:
    """One supervisor: says its state, and then what a test wants."""

    def __init__(self, state: State) -> None:
        self.reader = asyncio.StreamReader()
        self.reader.feed_data(encode(state))
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True
        if not self.reader.at_eof():
            self.reader.feed_eof()


class FakeDial:
    """Dials the supervisors of a list, one after the other."""

    def __init__(self, *states: State, code: str = "") -> None:
        self.code = code
        self.lines = deque(states)
        self.last: FakeLine | None = None
        self.retired: list[int] = []
        self.problems: list[str] = []

    async def __call__(self) -> tuple[Reader, Writer]:
        if not self.lines:
            await asyncio.Event().wait()
        self.last = FakeLine(self.lines.popleft())
        return self.last.reader, self.last

    async def retire(self, state: State) -> None:
        self.retired.append(state.pid)

    async def failed(self, problem: str) -> None:
        self.problems.append(problem)
        raise EngineDown(problem)


def nothing(_: Message) -> None:
    """Takes messages that don't matter."""


async def test_an_empty_one_of_another_version_is_replaced_at_once() -> None:
    dial = FakeDial(State(1, "", [], 0), State(2, "", [], VERSION + 1), State(3, "", [], VERSION, "b", 5))
    link = Link(dial, nothing, lambda *_: None)
    await link.open()
    assert (dial.retired, link.state.pid, link.steady.is_set()) == ([1, 2], 3, True)


async def test_an_older_one_with_work_goes_on_until_it_is_empty() -> None:
    dial = FakeDial(State(1, "", WORK, 0), State(1, "", [], 0), State(2, "", [], VERSION))
    back: list[tuple[int, bool]] = []
    link = Link(dial, nothing, lambda state, same: back.append((state.pid, same)))
    await link.open()
    task = link.begin()
    assert (dial.retired, link.state.pid, link.steady.is_set()) == ([], 1, True)
    link.send(Forget("a.1"))
    link.idle()
    async with asyncio.timeout(10):
        while not back:
            await asyncio.sleep(0.01)
    assert (dial.retired, back, link.steady.is_set()) == ([1], [(2, False)], True)
    await link.close()
    assert task.done()


async def test_a_newer_one_with_work_is_refused_with_what_to_do() -> None:
    dial = FakeDial(State(7, "", WORK, VERSION + 1))
    with pytest.raises(EngineDown, match=rf"supervisor 7 speaks version {VERSION + 1}.*newer agent.*SIGTERM"):
        await Link(dial, nothing, lambda *_: None).open()


async def test_one_from_another_archive_counts_as_of_another_version() -> None:
    dial = FakeDial(
        State(1, "", [], VERSION, code="old.pyz"), State(2, "", [], VERSION, code="new.pyz"), code="new.pyz"
    )
    link = Link(dial, nothing, lambda *_: None)
    await link.open()
    assert (dial.retired, link.state.code) == ([1], "new.pyz")


def test_what_an_older_supervisor_can_not_know_is_not_sent_to_it() -> None:
    order = Start("a.1", 1, ["x"], {}, "/", "/", 0, 15, 0, 0, 1, 1)
    assert encode(order) == b'["Start","a.1",1,["x"],{},"/","/",0,15,0,0,1,1]\n'
    assert decode(encode(order)) == order
    there = order._replace(numbers=[1], nonce="n")
    assert decode(encode(there)) == there
    assert decode(b'["State",5,"cgroup1",[["a.1","n","running",1,2]]]') == State(5, "cgroup1", WORK_OF_OLD)


WORK_OF_OLD = [Known("a.1", "n", "running", 1, 2)]
