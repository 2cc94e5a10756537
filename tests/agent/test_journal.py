"""The journal and the pipeline: durable first, then acted on, in order."""

import asyncio
import threading
from pathlib import Path

import pytest

from moyai.agent.core.effects import DropObject, Effect, Forget, Write
from moyai.agent.journal import Journal, JournalTrouble
from moyai.agent.pipeline import Pipeline
from moyai.model.ids import AttemptId, ManifestId


def test_what_is_committed_is_there_after_a_crash(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.commit([Write("a", b"1"), Write("b", b"2"), Write("a", None), Write("b", b"3")])
    assert Journal(tmp_path / "j.db").entries() == {"b": b"3"}


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    with pytest.raises(JournalTrouble):
        journal.commit([Write("a", b"1"), Write(None, b"2")])  # type: ignore[arg-type]
    assert journal.entries() == {}
    journal.commit([Write("a", b"1")])
    assert journal.entries() == {"a": b"1"}


def test_what_is_no_journal_is_said(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_bytes(b"no database" * 1000)
    with pytest.raises(JournalTrouble, match="can't be opened"):
        Journal(tmp_path / "j.db")


class SlowJournal(Journal):
    """Waits in `commit` until it is let go, and fails as often as asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.commits: list[list[str]] = []
        self.failures = 0

    def commit(self, writes) -> None:
        writes = list(writes)
        assert self.gate.wait(20)
        if self.failures:
            self.failures -= 1
            raise JournalTrouble("full")
        self.commits.append([w.key for w in writes])
        super().commit(writes)


@pytest.fixture
def slow(tmp_path: Path) -> SlowJournal:
    return SlowJournal(tmp_path / "j.db")


async def test_nothing_is_done_before_it_is_durable_and_all_in_order(slow: SlowJournal) -> None:
    acted: list[Effect] = []
    pipeline = Pipeline(slow, acted.append)
    task = asyncio.create_task(pipeline.run())
    one, two, three = Forget(AttemptId("1")), DropObject(ManifestId("2")), Forget(AttemptId("3"))
    first = pipeline.feed([one, Write("a", b"1")])
    await asyncio.sleep(0.05)
    rest = [pipeline.feed([Write("b", b"1"), two]), pipeline.feed([three]), pipeline.feed([])]
    await asyncio.sleep(0.05)
    assert acted == []
    assert not any(f.done() for f in (first, *rest))
    slow.gate.set()
    await asyncio.wait_for(asyncio.gather(first, *rest), 20)
    assert acted == [one, two, three]
    assert slow.commits == [["a"], ["b"]]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await pipeline.drain()


async def test_a_full_disk_holds_everything_back_until_there_is_room(
    slow: SlowJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moyai.agent.pipeline.AGAIN_S", 0.01)
    acted: list[Effect] = []
    pipeline = Pipeline(slow, acted.append)
    task = asyncio.create_task(pipeline.run())
    slow.failures = 3
    slow.gate.set()
    await asyncio.wait_for(pipeline.feed([Write("a", b"1"), Forget(AttemptId("1"))]), 20)
    assert (slow.failures, slow.entries(), len(acted)) == (0, {"a": b"1"}, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await pipeline.drain()


async def test_what_waits_when_it_is_told_to_leave_is_still_done(slow: SlowJournal) -> None:
    acted: list[Effect] = []
    pipeline = Pipeline(slow, acted.append)
    task = asyncio.create_task(pipeline.run())
    pipeline.feed([Write("a", b"1")])
    await asyncio.sleep(0.05)
    last = pipeline.feed([Write("b", b"1"), Forget(AttemptId("1"))])
    task.cancel()
    slow.gate.set()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(pipeline.drain(), 20)
    assert last.done()
    assert slow.entries() == {"a": b"1", "b": b"1"}
    assert len(acted) == 1
