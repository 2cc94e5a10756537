"""The table from the supervisor's record to outcome and reason."""

import pytest

from moyai.agent.engines.host.ends import engine_end
from moyai.agent.messages import Ended, RankEnd
from moyai.model.events import Outcome
from moyai.model.reasons import Code, Reason


def ended(cause: str, *statuses: int, first: int = -1, out_of_memory: bool = False, detail: str = "") -> Ended:
    ranks = [RankEnd(n, status, 10, 5, out_of_memory, 100, 0) for n, status in enumerate(statuses)]
    return Ended("a.1", "n", cause, detail, first, 1, 2, 3, 50, ranks)


@pytest.mark.parametrize(
    ("record", "outcome", "reason"),
    [
        (ended("exit", 0), Outcome.SUCCEEDED, Reason(Code.EXIT)),
        (ended("exit", 3 << 8, first=0), Outcome.FAILED, Reason(Code.EXIT, found=3)),
        (ended("exit", 126 << 8, first=0), Outcome.FAILED, Reason(Code.EXIT, found=126)),
        (ended("exit", 127 << 8, first=0), Outcome.FAILED, Reason(Code.COMMAND_NOT_FOUND, found=127)),
        (ended("exit", 11, first=0), Outcome.FAILED, Reason(Code.SIGNAL, found=11)),
        (ended("exit", 139, first=0), Outcome.FAILED, Reason(Code.SIGNAL, found=11)),
        (ended("exit", 9, first=0, out_of_memory=True), Outcome.FAILED, Reason(Code.OUT_OF_MEMORY, wanted=7, found=5)),
        (ended("exit", 0, 2 << 8, 15, first=1), Outcome.FAILED, Reason(Code.EXIT, subject="rank 1", found=2)),
        (ended("limit", 15), Outcome.STOPPED, Reason(Code.TIME_LIMIT, wanted=40, found=50)),
        (ended("limit", 0), Outcome.STOPPED, Reason(Code.TIME_LIMIT, wanted=40, found=50)),
        (ended("lease", 9), Outcome.STOPPED, Reason(Code.LEASE_EXPIRED)),
        (ended("stop", 0), Outcome.STOPPED, Reason(Code.CANCELLED)),
        (ended("launch", detail="d"), Outcome.FAILED, Reason(Code.LAUNCH_FAILED, detail="d")),
        (ended("refused", detail="d"), Outcome.FAILED, Reason(Code.START_REFUSED, detail="d")),
    ],
)
def test_every_end_has_its_words(record: Ended, outcome: Outcome, reason: Reason) -> None:
    end = engine_end(record, limit_us=40, memory_bytes=7)
    assert (end.outcome, end.reason) == (outcome, reason)
    assert end.nonce == "n"
    assert end.cpu_us == 10 * len(record.ranks)
    assert end.output_bytes == 100 * len(record.ranks)
