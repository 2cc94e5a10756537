"""When plans are made: soon after a change, one at a time, and not for nothing."""

import asyncio
import threading
import time
from collections.abc import Sequence

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.model import events as e
from moyai.model.ids import FlavorName, SiteName
from moyai.model.units import Instant
from moyai.plan.types import Plan, Planned, Policy, QueuedJob, Snapshot
from moyai.server import clock
from moyai.server import planner as module
from moyai.server.planner import Planner
from moyai.server.writer import Writer
from server.test_writer import NOW, FakeStore, made, submit


class Hand:
    """A planner's function made by hand: it notes its calls, waits, fails, and places what it is told to."""

    def __init__(self) -> None:
        self.seen: list[int] = []  # jobs in each queue
        self.open = threading.Event()
        self.open.set()
        self.fails = 0
        self.at_once = 0
        self.most_at_once = 0
        self.later_us = 0

    def __call__(self, snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy) -> Plan:
        """A plan."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            assert self.open.wait(10)
            if self.fails:
                self.fails -= 1
                raise ZeroDivisionError("no plan")
            self.seen.append(len(queue))
            node = iter(range(1_000))
            placed = tuple(
                Planned(
                    q.job,
                    self.place(now, next(node)),
                    issue_at=Instant(now + self.later_us) if self.later_us else Instant(0),
                )
                for q in queue
            )
            self.later_us = 0
            return Plan(snapshot.seq, now, placed)
        finally:
            self.at_once -= 1

    @staticmethod
    def place(now: Instant, node: int) -> e.Placement:
        """On the node of that index."""
        return e.Placement(SiteName("here"), FlavorName("cpu"), (node % 4,), now, Instant(now + 1), 1, 1, 1, 1, ())


def begun(hand: Hand) -> tuple[Writer, Planner]:
    """A writer and a planner at work."""
    writer = made(FakeStore())
    planner = Planner(writer, Policy(), lambda: hand)
    writer.on_durable.append(lambda _: planner.look())
    writer.start()
    planner.start()
    return writer, planner


async def ended(writer: Writer, planner: Planner) -> None:
    await planner.stop()
    await writer.stop(checkpoint=False)


async def until(holds) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def live(control: Control) -> int:
    return len(control.indexes.live)


async def test_what_comes_together_is_planned_together_and_issued():
    hand = Hand()
    writer, planner = begun(hand)
    await asyncio.gather(*(writer.do(submit(f"j{i}")) for i in range(4)))
    await until(lambda: planner.figures.plans == 1)
    assert live(writer.control) == 4
    assert hand.seen == [4]
    await asyncio.sleep(0.05)
    assert hand.seen == [4]  # nothing changed
    await ended(writer, planner)


async def test_one_plan_at_a_time_and_what_came_meanwhile_is_planned_next():
    hand = Hand()
    writer, planner = begun(hand)
    hand.open.clear()
    await writer.do(submit("a"))
    await asyncio.sleep(0.05)
    for key in "bc":
        await writer.do(submit(key))
    await asyncio.sleep(0.05)
    hand.open.set()
    await until(lambda: live(writer.control) == 3)
    assert hand.most_at_once == 1
    assert hand.seen[0] == 1
    assert sum(hand.seen) >= 3
    await ended(writer, planner)


async def test_a_planner_that_fails_takes_nothing_with_it(monkeypatch):
    monkeypatch.setattr(module, "FAILED_REST_S", 0.05)
    hand = Hand()
    hand.fails = 2
    writer, planner = begun(hand)
    await writer.do(submit("a"))
    await until(lambda: planner.figures.problem)
    assert "ZeroDivisionError" in planner.figures.problem
    assert writer.writing
    await until(lambda: live(writer.control) == 1)
    await until(lambda: planner.figures.problem == "")
    await ended(writer, planner)


async def test_a_reservation_is_planned_again_when_it_is_due():
    hand = Hand()
    hand.later_us = 200_000
    writer, planner = begun(hand)
    await writer.do(submit("a"))
    await until(lambda: hand.seen == [1])
    assert live(writer.control) == 0
    await until(lambda: live(writer.control) == 1)
    await ended(writer, planner)


async def test_a_plan_on_a_queue_that_changed_is_checked_again():
    hand = Hand()
    writer, planner = begun(hand)
    hand.open.clear()
    await writer.do(submit("a"))
    await asyncio.sleep(0.05)
    job = next(iter(writer.control.state.jobs))
    await writer.do(lambda c: (c.request(r.CancelJob("user:a", job), NOW), None))
    hand.open.set()
    await until(lambda: planner.figures.plans == 1)
    assert live(writer.control) == 0
    assert writer.control.dropped
    assert writer.writing
    await ended(writer, planner)


async def test_a_dry_run_is_a_plan_that_nobody_acts_on():
    hand = Hand()
    writer, planner = begun(hand)
    plan = await planner.plan_once(Snapshot(1, ()), (), clock.now())
    assert plan.placements == ()
    assert planner.figures.plans == 0
    await ended(writer, planner)
