"""Asks and answers: bounds, time, and what is told to whom."""

import asyncio

import pytest

from control.fleet import World
from moyai.model import events as e
from moyai.model.exchange import AskKind
from moyai.model.ids import SiteName
from moyai.server import relay as module
from moyai.server.answers import ApiError
from moyai.server.relay import Answer, AnswerStatus, Relay, sites_told

SITE = SiteName("tokyo")
OK = Answer(AnswerStatus.OK, b"abc", eof=True, total=3)


def ask(relay: Relay, limit: int = 10):
    return asyncio.ensure_future(relay.ask(SITE, AskKind.OUTPUT, "a.1", file=0, offset=0, limit=limit))


async def test_an_ask_rings_its_site_and_is_answered_once():
    relay = Relay(7)
    bell = relay.bell(SITE)
    asked = ask(relay)
    await asyncio.sleep(0)
    assert bell.is_set()
    (one,) = relay.open_asks(SITE)
    assert relay.open_asks(SITE) == ()
    assert not relay.answered(SiteName("fukuoka"), one.ask, OK)
    assert relay.answered(SITE, one.ask, OK)
    assert not relay.answered(SITE, one.ask, OK)
    assert await asked == OK
    assert not relay.answered(SITE, one.ask, OK)


async def test_an_ask_that_nobody_answers_is_handed_out_again_and_then_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    monkeypatch.setattr(module, "ANSWER_S", 0.2)
    relay = Relay(7)
    asked = ask(relay)
    await asyncio.sleep(0)
    first = relay.open_asks(SITE)
    await asyncio.sleep(0.08)
    assert relay.open_asks(SITE) == first
    with pytest.raises(ApiError) as error:
        await asked
    assert error.value.status == 504
    assert relay.open_asks(SITE) == ()


async def test_asks_and_pieces_are_bounded():
    relay = Relay(7)
    asked = [ask(relay, limit=1 << 40) for _ in range(module.ASKS_OF_A_SITE)]
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as error:
        await ask(relay)
    assert error.value.status == 503
    opened = relay.open_asks(SITE)
    assert len(opened) == module.ASKS_OF_A_SITE
    assert all(a.limit == module.PIECE_BYTES for a in opened)
    for one in asked:
        one.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert relay.open_asks(SITE) == ()


def test_only_the_sites_that_a_record_concerns_are_told():
    world = World()
    job = world.submit()
    assert sites_told(world.control, tuple(world.records[-1:])) == set()
    attempt = world.place(job, "tokyo")
    assert sites_told(world.control, tuple(world.records[-1:])) == {"tokyo"}
    world.report("tokyo", e.AttemptStarted(attempt, world.now, ()))
    assert sites_told(world.control, tuple(world.records[-1:])) == set()
