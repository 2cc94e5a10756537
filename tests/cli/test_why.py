"""`moyai why` of a job that waits."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace

import pytest

from cli.conftest import Moyai
from cli.test_rows import ATTEMPT, JOB
from moyai.cli import jobs
from moyai.model.lifecycle import AttemptState, JobState
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.views import JobView, WhyView

MINUTE = 60_000_000
NOW = JOB.submitted_at + 10 * MINUTE
WAITS = replace(JOB, state=JobState.PENDING, site="", attempts=(), started_at=None)
SAID = WhyView(
    WAITS.job,
    JobState.PENDING,
    Reason(Code.CAPACITY, "tokyo", "first-0123456789", found=130 * MINUTE),
    (
        Considered(
            "tokyo",
            "cpu",
            True,
            Reason(Code.CHOSEN, "tokyo", "first-0123456789", found=130 * MINUTE),
            NOW + 130 * MINUTE,
            NOW + 200 * MINUTE,
            1_000_000,
        ),
        Considered("fukuoka", "", False, Reason(Code.SITE_DRAINING)),
    ),
    "tokyo",
    NOW + 130 * MINUTE,
    awaits="first-0123456789",
    expect_us=70 * MINUTE,
    expect_source="history",
)

Show = Callable[[JobView, WhyView], list[str]]


@pytest.fixture
def show(moyai: Moyai, monkeypatch: pytest.MonkeyPatch) -> Show:
    """The lines that `moyai why` prints of these views, and all of them within 80 columns."""

    def lines(view: JobView, said: WhyView) -> list[str]:
        class Handle:
            def view(self) -> JobView:
                return view

            def why(self) -> WhyView:
                return said

        @contextmanager
        def connect(*_: object, **__: object):
            yield None

        monkeypatch.setattr(jobs, "connect", connect)
        monkeypatch.setattr(jobs, "find", lambda *_: Handle())
        monkeypatch.setattr(jobs.time, "time_ns", lambda: NOW * 1_000)
        ran = moyai("why", view.job)
        assert ran.code == 0, ran.err
        return ran.out.splitlines()

    return lines


def test_it_says_the_earliest_start_what_it_awaits_and_who_says_how_long_it_runs(show: Show) -> None:
    said = show(WAITS, SAID)
    assert said[0].endswith("waits for capacity, starts in 2 h 10 min at the earliest")
    assert said[1] == "planned: tokyo, +2 h 10 min, when first-0123456789 ends"
    assert said[2] == "expected to run 1 h 10 min, as jobs of its name did"
    assert any("✔" in line and "tokyo" in line for line in said)
    assert "first-0123456789 ends in" in " ".join(" ".join(said[3:]).split())


def test_in_japanese(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "ja")
    said = show(WAITS, SAID)
    assert said[0].endswith("空き待ち、開始は早くて2時間10分後")
    assert said[1] == "予定：tokyo、+2時間10分、first-0123456789 の終了後"
    assert said[2] == "実行時間の見込み：1時間10分（同名のジョブの実績）"


def test_a_job_that_is_tried_again_says_when_too(show: Show) -> None:
    before = replace(ATTEMPT, state=AttemptState.LOST, reason=Reason(Code.SITE_LOST))
    said = show(replace(WAITS, attempts=(before,)), replace(SAID, awaits="", expect_source="default"))
    assert said[1] == "planned: tokyo, +2 h 10 min"
    assert said[2] == "expected to run 1 h 10 min, a guess: its tenant has run none yet"


@pytest.mark.parametrize("state", [JobState.ACTIVE, JobState.SUCCEEDED])
def test_one_that_waits_no_more_has_no_earliest_start(show: Show, state: JobState) -> None:
    said = show(replace(JOB, state=state), replace(SAID, state=state, awaits="", start=None, expect_us=0))
    assert not any(line.startswith(("planned", "expected")) for line in said)
