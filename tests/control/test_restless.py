"""Upkeep looks at a few jobs, and always comes to what a look at all of them would."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.control import decide as decisions
from moyai.control.restless import Restless
from moyai.control.state import Indexes, State
from moyai.control.upkeep import upkeep
from moyai.model.envelope import Draft
from moyai.plan.place import plan
from moyai.twin.replay.run import replay
from moyai.twin.replay.setup import Fault, Mishap
from twin.replay.small import EAST, HOUR, PLAIN, SECOND, WEST, dataset, job, setup


class Both:
    """Upkeep as it is, beside a look at everybody."""

    def __init__(self) -> None:
        self.drafts = 0

    def __call__(self, state: State, indexes: Indexes) -> tuple[Draft, ...]:
        every = SimpleNamespace(data_jobs=indexes.data_jobs, restless=Restless(state, indexes.flows.users))
        wanted = upkeep(state, every)  # type: ignore[arg-type]
        found = upkeep(state, indexes)
        assert found == wanted
        self.drafts += len(found)
        return found


@settings(max_examples=6, deadline=None)
@given(
    shapes=st.lists(
        st.tuples(st.integers(0, 7_200), st.integers(600, 9_000), st.booleans(), st.booleans()), min_size=4, max_size=12
    ),
    lost=st.integers(600, 9_000),
    slow=st.sampled_from((1, 40)),
)
def test_it_comes_to_the_same(shapes: list[tuple[int, int, bool, bool]], lost: int, slow: int) -> None:
    jobs = [
        job(n, at * SECOND, run * SECOND, saves_us=300 * SECOND if saves else 0, data=("corpus",) if reads else ())
        for n, (at, run, saves, reads) in enumerate(shapes)
    ]
    made = replace(
        setup(*jobs, mb_per_second=slow),
        datasets=(dataset("corpus", EAST, 2_000_000_000),),
        faults=(Fault(lost * SECOND, EAST, Mishap.LOST), Fault((lost + 3_000) * SECOND, EAST, Mishap.BACK)),
        policy=PLAIN,
    )
    both = Both()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decisions, "upkeep", both)
        outcome = replay(made, plan, policy="p")
    assert all(row.succeeded for row in outcome.jobs)


def test_many_checkpoints_on_one_slow_link() -> None:
    jobs = [job(n, n * 20 * SECOND, HOUR, saves_us=120 * SECOND) for n in range(8)]
    slow = [replace(a, work=replace(a.work, checkpoint_bytes=90_000_000)) for a in jobs]
    both = Both()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decisions, "upkeep", both)
        outcome = replay(replace(setup(*slow, east=4, west=4, mb_per_second=2), policy=PLAIN), plan, policy="p")
    assert both.drafts > 50
    assert {row.site for row in outcome.jobs} <= {EAST, WEST}
