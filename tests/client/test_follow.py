"""Following a job: its output once, in order, over every attempt, whatever happens to them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest

from cli.test_rows import ATTEMPT, JOB
from moyai.client import handle as handles
from moyai.client.connection import Connection
from moyai.client.errors import MoyaiError
from moyai.client.handle import JobHandle, Piece, Turn, Waiting
from moyai.model.lifecycle import AttemptState as A
from moyai.model.lifecycle import JobState as J
from moyai.model.reasons import Code, Reason
from moyai.model.views import AttemptView, JobView


class Story(JobHandle):
    """A job whose views and output are a list of scenes; each look takes the next one, the last one stays."""

    def __init__(self, scenes: list[JobView], output: dict[int, bytes], step: int = 1 << 20) -> None:
        super().__init__(cast(Connection, None), "job")
        self.scenes = scenes
        self.said = output
        self.step = step
        self.failures: list[MoyaiError] = []
        self.asked: list[tuple[str, int]] = []

    def view(self) -> JobView:
        return self.scenes.pop(0) if len(self.scenes) > 1 else self.scenes[0]

    def piece(self, attempt: str, rank: int = 0, offset: int = 0, wait_s: float = 0.0) -> Piece:
        self.asked.append((attempt, offset))
        if self.failures:
            raise self.failures.pop(0)
        ordinal = int(attempt.rsplit(".", 1)[1])
        whole = self.said.get(ordinal, b"")
        data = whole[offset : offset + self.step]
        live = any(a.attempt == attempt and a.state is A.RUNNING for a in self.scenes[0].attempts)
        return Piece(attempt, rank, offset, data, eof=not live and offset + len(data) == len(whole))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles.time, "sleep", lambda _: None)


def attempt(ordinal: int, state: A, reason: Code | None = None) -> AttemptView:
    return replace(
        ATTEMPT,
        attempt=f"job.{ordinal}",
        ordinal=ordinal,
        state=state,
        started_at=None if state is A.ISSUED else 1,
        reason=Reason(reason) if reason else None,
    )


def job(state: J, *attempts: AttemptView) -> JobView:
    return replace(JOB, job="job", state=state, attempts=attempts)


def told(items: Iterator[Piece | Turn | Waiting]) -> tuple[bytes, list[str]]:
    data, turns = b"", list[str]()
    for item in items:
        if isinstance(item, Piece):
            data += item.data
        elif isinstance(item, Turn):
            turns.append(f"{item.attempt.ordinal} {item.attempt.state}" if item.attempt else str(item.job.state))
    return data, turns


def test_a_plain_job_from_waiting_to_its_end() -> None:
    story = Story(
        [
            job(J.PENDING),
            job(J.ACTIVE, attempt(1, A.ISSUED)),
            job(J.ACTIVE, attempt(1, A.RUNNING)),
            job(J.ACTIVE, attempt(1, A.RUNNING)),
            job(J.SUCCEEDED, attempt(1, A.SUCCEEDED)),
        ],
        {1: b"hello\nworld\n"},
        step=5,
    )
    assert told(story.follow(since=1)) == (
        b"hello\nworld\n",
        ["1 issued", "1 running", "1 succeeded", "succeeded"],
    )
    assert [offset for _, offset in story.asked] == sorted(offset for _, offset in story.asked)


def test_an_attempt_that_is_lost_is_left_and_the_next_one_is_followed() -> None:
    story = Story(
        [
            job(J.ACTIVE, attempt(1, A.RUNNING)),
            job(J.PENDING, attempt(1, A.LOST, Code.SITE_LOST)),
            job(J.ACTIVE, attempt(1, A.LOST, Code.SITE_LOST), attempt(2, A.RUNNING)),
            job(J.SUCCEEDED, attempt(1, A.LOST, Code.SITE_LOST), attempt(2, A.SUCCEEDED)),
        ],
        {1: b"step 1\n", 2: b"step 2\n"},
    )
    data, turns = told(story.follow(since=1))
    assert data == b"step 1\nstep 2\n"
    assert turns == ["1 running", "1 lost", "2 running", "2 succeeded", "succeeded"]


def test_attempts_that_came_and_went_between_two_looks_are_not_skipped() -> None:
    story = Story(
        [job(J.FAILED, attempt(1, A.FAILED, Code.EXIT), attempt(2, A.FAILED, Code.EXIT))], {1: b"a\n", 2: b"b\n"}
    )
    assert told(story.follow(since=1))[0] == b"a\nb\n"
    assert told(Story(list(story.scenes), story.said).follow())[0] == b"b\n", "without `since`, the newest only"


def test_a_site_that_is_away_for_a_while_loses_nothing() -> None:
    story = Story(
        [job(J.ACTIVE, attempt(1, A.RUNNING))] * 4 + [job(J.SUCCEEDED, attempt(1, A.SUCCEEDED))], {1: b"x" * 10}, step=4
    )
    story.failures = [MoyaiError("site-timeout", "it did not answer", status=504)] * 2
    assert told(story.follow(since=1))[0] == b"x" * 10


def test_output_that_is_gone_ends_the_attempt_s_part() -> None:
    story = Story([job(J.FAILED, attempt(1, A.FAILED, Code.EXIT))], {1: b"x"})
    story.failures = [MoyaiError("gone", "deleted", status=410)]
    assert told(story.follow(since=1)) == (b"", ["1 failed", "failed"])


def test_a_job_that_was_cancelled_before_it_ran() -> None:
    assert told(Story([job(J.PENDING), job(J.CANCELLED)], {}).follow(since=1)) == (b"", ["cancelled"])


def test_waiting_gives_up_in_time() -> None:
    with pytest.raises(MoyaiError) as raised:
        Story([job(J.PENDING)], {}).wait(timeout=0)
    assert raised.value.code == "timeout"
    assert Story([job(J.PENDING), job(J.SUCCEEDED)], {}).wait().state is J.SUCCEEDED
