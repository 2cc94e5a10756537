"""The leader's lease on a clock of the test's own: counted from sending, and never trusted past its end."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from moyai.model.units import Boot
from moyai.server import leading as module
from moyai.server.leading import Alone, Leased, OnlyWhileLeading
from moyai.store.errors import Away
from moyai.store.leader import trusted_us

LEASE_US = 3_000_000


class FakeSeat:
    """A leader's place whose renewals do as they are told."""

    lease_us = LEASE_US

    def __init__(self) -> None:
        self.outcome: Callable[[], bool] = lambda: True
        self.renewals = 0
        self.renewed = threading.Event()
        self.resigned = 0

    def renew(self) -> bool:
        """The next outcome."""
        try:
            return self.outcome()
        finally:
            self.renewals += 1
            self.renewed.set()

    def resign(self) -> None:
        """Count."""
        self.resigned += 1

    def mine(self) -> bool:
        """What a renewal would say."""
        return self.outcome()

    def wait(self) -> None:
        """Until one more renewal was sent and answered."""
        for _ in range(2):
            self.renewed.clear()
            assert self.renewed.wait(10)


class Clock:
    """A boot clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = Boot(1_000_000_000)

    def __call__(self) -> Boot:
        """Now."""
        return self.now


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewals follow one another at once."""
    monkeypatch.setattr(module, "RENEW_S", 0.005)
    monkeypatch.setattr(module, "AGAIN_S", 0.005)


def lost() -> bool:
    """The database is away."""
    raise Away("x: the database can't be reached")


def test_it_holds_as_long_as_it_is_renewed_and_not_a_moment_longer():
    clock, seat = Clock(), FakeSeat()
    leased = Leased(seat, clock(), clock)  # type: ignore[arg-type]
    assert leased.holds()
    seat.outcome = lost
    seat.wait()
    clock.now = Boot(clock.now + trusted_us(LEASE_US) - 1)
    assert leased.holds()
    clock.now = Boot(clock.now + 1)
    assert not leased.holds()
    seat.outcome = lambda: True  # nobody else came
    seat.wait()
    assert leased.holds()
    leased.resign()
    assert not leased.holds()
    assert seat.resigned == 1


def test_it_counts_from_sending_and_not_from_the_answer():
    clock, seat = Clock(), FakeSeat()

    def slow() -> bool:
        clock.now = Boot(clock.now + LEASE_US)  # the answer takes a whole lease
        return True

    seat.outcome = slow
    leased = Leased(seat, clock(), clock)  # type: ignore[arg-type]
    seat.wait()
    assert not leased.holds()
    seat.outcome = lambda: True
    leased.resign()


def test_a_place_that_is_another_s_is_told_once_and_never_held_again():
    clock, seat = Clock(), FakeSeat()
    told: list[str] = []
    leased = Leased(seat, clock(), clock)  # type: ignore[arg-type]
    leased.watch(told.append)
    seat.outcome = lambda: False
    leased._thread.join(10)
    assert not leased.holds()
    assert leased.deposed()
    assert len(told) == 1
    assert "another control plane leads" in told[0]
    late: list[str] = []
    leased.watch(late.append)
    assert late == told
    leased.resign()
    assert seat.resigned == 0  # it is not ours to give


def test_whether_it_was_deposed_is_asked_where_it_is_not_known():
    clock, seat = Clock(), FakeSeat()
    leased = Leased(seat, clock(), clock)  # type: ignore[arg-type]
    assert not leased.deposed()
    seat.outcome = lost
    assert leased.deposed()
    seat.outcome = lambda: True
    leased.resign()
    assert not Alone().deposed()
    assert Alone().holds()


class Holds:
    """Leads as often as it is told to."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)

    def holds(self) -> bool:
        """The next answer; the last repeats."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def asked(path: str, leading: Any) -> tuple[int, bytes, int]:
    """What comes of a request: the status, the body, and how often the application was called."""
    calls = 0
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal calls
        calls += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"an answer", "more_body": False})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await OnlyWhileLeading(app, leading)({"type": "http", "path": path, "method": "POST"}, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:]), calls


async def test_nothing_is_answered_without_the_lease_but_how_it_stands():
    assert await asked("/v1/jobs", Holds(True)) == (200, b"an answer", 1)
    status, body, calls = await asked("/v1/jobs", Holds(False))
    assert (status, calls) == (503, 0)
    assert b'"standby"' in body
    for path in ("/v1/health", "/metrics"):
        assert (await asked(path, Holds(False)))[0] == 200


async def test_a_renewal_that_was_let_in_is_not_answered_after_the_lease():
    status, body, calls = await asked("/v1/exchange/here/events", Holds(True, False))
    assert (status, calls) == (503, 1)
    assert b"an answer" not in body
    # What is durable is durable: a write that was let in may say so.
    assert (await asked("/v1/jobs", Holds(True, False)))[0] == 200
