"""The one writer, over a store that is a list."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from moyai.control import requests as r
from moyai.control.core import Control, Refused, replay
from moyai.control.lease import LeaseTable
from moyai.control.state import State, state_bytes, state_from, state_hash
from moyai.model.envelope import CorruptRecord, Record
from moyai.model.exchange import Batch, Hello
from moyai.model.ids import AttemptId, ProjectName, SiteName, TenantName, TextRef
from moyai.model.site import Flavor, SiteProfile
from moyai.model.units import Boot, Instant
from moyai.model.views import Mode
from moyai.model.workload import JobOrder, Need
from moyai.server import writer as module
from moyai.server.exchange import renew, welcome_back
from moyai.server.writer import NotStored, Writer
from moyai.store.errors import Away, LogFull, OutOfStep, StaleEpoch

NOW, BOOT = Instant(1_800_000_000_000_000), Boot(1_000_000)
SITE = SiteName("here")


class FakeStore:
    """A log that is a list, with the faults of a real one."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.groups: list[int] = []
        self.checkpoints: list[tuple[int, bytes]] = []
        self.fault: Exception | None = None
        self.unreadable = False
        self.away = False
        self.open = threading.Event()
        self.open.set()
        self.threads: set[int] = set()

    def append(self, records: Sequence[Record], sealed: Sequence[object]) -> None:
        """Keep, wait or fail."""
        self.threads.add(threading.get_ident())
        assert self.open.wait(10)
        if self.fault is not None:
            raise self.fault
        assert records[0].seq == len(self.records) + 1
        self.records.extend(records)
        self.groups.append(len(records))

    def checkpoint(self, seq: int, head_hash: str, state: bytes) -> None:
        """Keep or fail."""
        if self.fault is not None:
            raise self.fault
        assert self.records[seq - 1].hash == head_hash
        self.checkpoints.append((seq, state))

    def load(self) -> State:
        """Replay."""
        if self.unreadable:
            raise CorruptRecord(3, "its bytes are lost")
        if self.away:
            raise Away("the database can't be reached")
        return replay(State(), self.records)


def leases() -> LeaseTable:
    return LeaseTable(10_000_000)


def made(store: FakeStore) -> Writer:
    """A writer whose one site is declared and joined."""
    control = Control(State(), 1, leases())
    profile = SiteProfile(SITE, "host", "JP", 0, 0, (Flavor("cpu", 4, 4, 1 << 30),), 1, 1)  # type: ignore[arg-type]
    records = [
        *control.take_over("test", NOW, BOOT),
        *control.request(r.DeclareFleet("op", (profile,), ()), NOW),
        *control.hello(Hello(SITE, "one", ("guard",)), NOW, BOOT)[0],
    ]
    store.append(records, ())
    store.threads.clear()
    return Writer(store, control, leases)


def submit(key: str):
    """The action of a submission."""
    order = JobOrder(key, Need(1))
    wanted = r.SubmitJob(TenantName("t"), ProjectName("p"), "user:a", key, order, TextRef("t" * 64))
    return lambda c: (c.request(wanted, NOW), c.state.seq)


async def test_an_answer_comes_only_when_its_records_are_durable():
    store = FakeStore()
    writer = made(store)
    writer.start()
    store.open.clear()
    asked = asyncio.ensure_future(writer.do(submit("a")))
    looked = asyncio.ensure_future(writer.read(lambda c: len(c.state.jobs)))
    await asyncio.sleep(0.05)
    assert not asked.done()
    assert not looked.done()
    assert len(writer.control.state.jobs) == 1
    store.open.set()
    assert await asked == writer.durable_seq
    assert await looked == 1
    await writer.stop(checkpoint=False)


async def test_what_comes_during_a_commit_is_committed_as_one_group():
    store = FakeStore()
    writer = made(store)
    writer.start()
    store.open.clear()
    first = asyncio.ensure_future(writer.do(submit("first")))
    await asyncio.sleep(0.05)
    others = [asyncio.ensure_future(writer.do(submit(f"j{i}"))) for i in range(50)]
    await asyncio.sleep(0.05)
    store.open.set()
    await asyncio.gather(first, *others)
    assert store.groups[1:] == [1, 50]
    assert threading.get_ident() not in store.threads
    await writer.stop(checkpoint=False)


async def test_the_same_key_twice_at_once_is_one_job_and_both_wait_for_it():
    store = FakeStore()
    writer = made(store)
    writer.start()
    store.open.clear()
    both = [asyncio.ensure_future(writer.do(submit("a"))) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert not any(b.done() for b in both)
    store.open.set()
    assert len(set(await asyncio.gather(*both))) == 1
    await writer.stop(checkpoint=False)


async def test_a_full_disk_fails_its_requests_and_takes_nothing_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PROBE_S", (0.02,))
    store = FakeStore()
    writer = made(store)
    writer.start()
    await writer.do(submit("before"))
    stored = state_hash(writer.control.state)
    store.fault = LogFull("the disk is full")
    results = await asyncio.gather(*(writer.do(submit(k)) for k in "abc"), return_exceptions=True)
    assert all(isinstance(x, NotStored) and x.mode is Mode.FULL for x in results)
    assert state_hash((await writer.loaded()).state) == stored
    assert writer.durable_seq == writer.control.state.seq
    with pytest.raises(NotStored, match="full"):
        await writer.do(submit("d"))
    assert await writer.read(lambda c: len(c.state.jobs)) == 1
    store.fault = None
    while writer.mode is Mode.FULL:
        await asyncio.sleep(0.01)
    await writer.do(submit("a"))
    assert [j.request for j in writer.control.state.jobs.values()] == ["before", "a"]
    assert state_hash(store.load()) == state_hash(writer.control.state)
    await writer.stop(checkpoint=False)


async def test_while_nothing_can_be_stored_sites_keep_their_leases_and_their_reports(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PROBE_S", (60.0,))
    store = FakeStore()
    writer = made(store)
    writer.start()
    store.fault = LogFull("the disk is full")
    with pytest.raises(NotStored):
        await writer.do(submit("a"))
    ack = await writer.read(lambda c: renew(c, SITE, Batch("one", 1)))
    assert ack.renewed
    assert ack.through == 0
    assert writer.control.leases.next_over() is not None
    assert not (await writer.read(lambda c: renew(c, SITE, Batch("two", 1)))).renewed
    back = await writer.read(lambda c: welcome_back(c, Hello(SITE, "one", ("guard",), (AttemptId("none-0.1"),))))
    assert back is not None
    assert (back.term, back.epoch, back.unknown) == (1, 1, ("none-0.1",))
    assert await writer.read(lambda c: welcome_back(c, Hello(SITE, "two", ()))) is None
    await writer.stop(checkpoint=False)


async def test_reads_that_saw_what_was_never_stored_look_again():
    store = FakeStore()
    writer = made(store)
    writer.start()
    store.open.clear()
    store.fault = LogFull("the disk is full")
    asked = asyncio.ensure_future(writer.do(submit("a")))
    looked = asyncio.ensure_future(writer.read(lambda c: len(c.state.jobs)))
    await asyncio.sleep(0.05)
    store.open.set()
    with pytest.raises(NotStored):
        await asked
    assert await looked == 0
    await writer.stop(checkpoint=False)


async def test_a_broken_invariant_makes_it_read_only_and_loses_nothing():
    store = FakeStore()
    writer = made(store)
    writer.start()
    store.open.clear()
    sound = asyncio.ensure_future(writer.do(submit("sound")))
    await asyncio.sleep(0.02)

    def breaks(control: Control):
        control.state.jobs.clear()
        raise AssertionError("capacity is negative")

    with pytest.raises(NotStored, match="negative"):
        await writer.do(breaks)
    assert writer.mode is Mode.BROKEN
    store.open.set()
    await sound
    assert await writer.read(lambda c: [j.request for j in c.state.jobs.values()]) == ["sound"]
    with pytest.raises(NotStored):
        await writer.do(submit("later"))
    await writer.stop(checkpoint=True)
    assert not store.checkpoints


async def test_a_refusal_changes_nothing():
    store = FakeStore()
    writer = made(store)
    writer.start()
    with pytest.raises(Refused):
        await writer.do(lambda c: (c.request(r.CancelJob("user:a", "none-0"), NOW), None))  # type: ignore[arg-type]
    assert writer.mode is Mode.WRITING
    await writer.do(submit("a"))
    await writer.stop(checkpoint=False)


@pytest.mark.parametrize(("fault", "fatal"), [(StaleEpoch(1, 2), True), (OutOfStep("not ours"), False)])
async def test_another_leader_or_a_foreign_log_ends_the_writing(fault: Exception, fatal: bool):
    store = FakeStore()
    writer = made(store)
    told: list[str] = []
    writer.on_fatal = told.append
    writer.start()
    store.fault = fault
    with pytest.raises(NotStored):
        await writer.do(submit("a"))
    await writer.loaded()
    await asyncio.sleep(0.01)
    assert writer.mode is Mode.BROKEN
    assert bool(told) is fatal
    await writer.stop(checkpoint=True)


async def test_a_log_that_can_not_be_read_again_is_said_to_every_reader():
    store = FakeStore()
    writer = made(store)
    writer.start()
    store.fault, store.unreadable = LogFull("the disk is full"), True
    with pytest.raises(NotStored):
        await writer.do(submit("a"))
    with pytest.raises(NotStored, match="event 3"):
        await writer.read(lambda c: c.state.seq)
    await writer.stop(checkpoint=False)


async def test_a_database_that_is_away_is_waited_for_and_what_it_stored_unheard_is_seen(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "PROBE_S", (0.02,))
    store = FakeStore()
    writer = made(store)
    writer.start()
    await writer.do(submit("before"))
    plain = store.append

    def unheard(records: Sequence[Record], sealed: Sequence[object]) -> None:
        plain(records, sealed)
        store.away, store.fault = True, Away("the database can't be reached")
        raise store.fault

    monkeypatch.setattr(store, "append", unheard)
    with pytest.raises(NotStored) as caught:
        await writer.do(submit("a"))
    assert caught.value.mode is Mode.AWAY
    with pytest.raises(NotStored):
        await writer.read(lambda c: c.state.seq)
    with pytest.raises(NotStored, match="reached"):
        await writer.do(submit("b"))
    await asyncio.sleep(0.1)
    assert writer.mode is Mode.AWAY
    monkeypatch.setattr(store, "append", plain)
    store.away, store.fault = False, None
    while writer.mode is Mode.AWAY:
        await asyncio.sleep(0.01)
    assert await writer.read(lambda c: [j.request for j in c.state.jobs.values()]) == ["before", "a"]
    await writer.do(submit("a"))
    await writer.do(submit("b"))
    assert state_hash(store.load()) == state_hash(writer.control.state)
    assert [j.request for j in store.load().jobs.values()] == ["before", "a", "b"]
    await writer.stop(checkpoint=False)


async def test_a_defect_of_the_store_is_not_passed_over():
    store = FakeStore()
    writer = made(store)
    told: list[str] = []
    writer.on_fatal = told.append
    writer.start()
    store.fault = KeyError("a defect")
    with pytest.raises(NotStored):
        await writer.do(submit("a"))
    await asyncio.sleep(0.01)
    assert told
    await writer.stop(checkpoint=True)


async def test_checkpoints_are_of_durable_heads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CHECKPOINT_EVERY", 10)
    store = FakeStore()
    writer = made(store)
    writer.start()
    for i in range(40):
        await writer.do(submit(f"j{i}"))
    await writer.stop(checkpoint=True)
    assert len(store.checkpoints) >= 4
    for seq, state in store.checkpoints:
        assert state_bytes(replay(State(), store.records[:seq])) == state
    assert store.checkpoints[-1][0] == len(store.records)
    assert state_from(store.checkpoints[-1][1]).seq == len(store.records)
