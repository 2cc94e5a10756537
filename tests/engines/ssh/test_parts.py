"""How the ends of its parts make the end of an attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.agent.engines.ssh.parts import Parts, combined, verdict
from moyai.agent.messages import Ended, RankEnd
from moyai.model.events import Outcome
from moyai.model.reasons import Code

CAUSES = ("exit", "limit", "lease", "stop", "launch", "refused", "shutdown")


def part(cause: str, rank: int, status: int = 0, at: int = 5) -> Ended:
    never = cause in {"launch", "refused"}
    ranks = [] if never else [RankEnd(rank, status, 10, 5, False, 100, 0)]
    first = rank if status and cause == "exit" else -1
    return Ended("g.1", "n", cause, "", first, 0 if never else 7 + rank, 3, at, 50, ranks)


@pytest.mark.parametrize(
    ("ends", "outcome", "code", "subject"),
    [
        ((part("exit", 0), part("exit", 1)), Outcome.SUCCEEDED, Code.EXIT, ""),
        ((part("stop", 0, 15), part("exit", 1, 9 << 8)), Outcome.FAILED, Code.EXIT, "rank 1"),
        ((part("exit", 0, 1 << 8, at=9), part("exit", 1, 9 << 8, at=4)), Outcome.FAILED, Code.EXIT, "rank 1"),
        ((part("exit", 0, 1 << 8), part("limit", 1, 15)), Outcome.STOPPED, Code.TIME_LIMIT, ""),
        ((part("stop", 0, 15), part("lease", 1, 15)), Outcome.STOPPED, Code.LEASE_EXPIRED, ""),
        ((part("stop", 0, 15), part("launch", 1)), Outcome.FAILED, Code.LAUNCH_FAILED, ""),
        ((part("exit", 0), part("stop", 1, 15)), Outcome.STOPPED, Code.CANCELLED, ""),
        ((part("refused", 0), part("refused", 1)), Outcome.FAILED, Code.START_REFUSED, ""),
    ],
)
def test_the_most_telling_end_counts(ends: tuple[Ended, Ended], outcome: Outcome, code: Code, subject: str) -> None:
    parts = Parts({"a": [0], "b": [1]}, ended=dict(zip("ab", ends, strict=True)))
    end = verdict("g.1", "n", parts, 40, 0)
    assert (end.outcome, end.reason.code, end.reason.subject, end.nonce) == (outcome, code, subject, "n")


def test_a_lost_part_is_the_end_whatever_the_others_say() -> None:
    parts = Parts({"a": [0], "b": [1]})
    assert not parts.failed
    parts.lost["a"] = "node lost: a was restarted"
    assert parts.failed
    assert parts.open == ["b"]
    parts.ended["b"] = part("exit", 1, 1 << 8)
    assert parts.over
    end = verdict("g.1", "n", parts, 0, 0)
    assert (end.outcome, end.reason.code) == (Outcome.FAILED, Code.SUPERVISOR_LOST)
    assert end.reason.detail == "node lost: a was restarted"
    assert combined("g.1", "n", parts) is None


@given(st.lists(st.tuples(st.sampled_from(CAUSES), st.sampled_from([0, 9, 256])), min_size=1, max_size=5))
def test_it_succeeds_only_where_every_part_did_and_no_rank_is_counted_twice(ends: list[tuple[str, int]]) -> None:
    parts = Parts({str(n): [n] for n in range(len(ends))})
    for number, (cause, status) in enumerate(ends):
        parts.ended[str(number)] = part(cause, number, status)
    end = verdict("g.1", "n", parts, 0, 0)
    assert (end.outcome is Outcome.SUCCEEDED) == all(e == ("exit", 0) for e in ends)
    whole = combined("g.1", "n", parts)
    assert whole is not None
    assert [r.rank for r in whole.ranks] == [
        n for n, (cause, _) in enumerate(ends) if cause not in {"launch", "refused"}
    ]
