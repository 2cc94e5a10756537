"""Which machine stands for which node number: by example and by property."""

from hypothesis import given
from hypothesis import strategies as st

from moyai.agent.engines.ssh.slots import Slots
from moyai.model.ids import FlavorName

CPU = FlavorName("cpu")
NAMES = ("a", "b", "c", "d")


def test_a_lost_machine_leaves_no_gap_where_another_is_idle() -> None:
    slots = Slots({CPU: NAMES})
    slots.update("acd", ())
    assert [slots.machine(CPU, n) for n in range(4)] == ["a", "d", "c", None]
    assert slots.count(CPU) == 3
    slots.update("abcd", ())
    assert [slots.machine(CPU, n) for n in range(4)] == ["a", "d", "c", "b"]


def test_where_all_others_are_busy_the_numbers_above_the_gap_wait() -> None:
    slots = Slots({CPU: NAMES})
    slots.update("acd", "acd")
    assert (slots.count(CPU), slots.machine(CPU, 2)) == (1, "c")
    slots.update("acd", "ad")
    assert [slots.machine(CPU, n) for n in range(4)] == ["a", "c", None, "d"]


def test_what_runs_keeps_its_number_over_a_restart_of_the_agent() -> None:
    slots = Slots({CPU: NAMES})
    slots.seed(CPU, 0, "d")
    slots.seed(CPU, 9, "a")
    slots.seed(FlavorName("gpu"), 0, "a")
    slots.update("abcd", "d")
    assert slots.machine(CPU, 0) == "d"
    assert slots.count(CPU) == 4
    assert (slots.count(FlavorName("gpu")), slots.machine(CPU, -1), slots.machine(CPU, 4)) == (0, None, None)


STEPS = st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES))), max_size=12)


@given(STEPS)
def test_numbers_are_distinct_living_and_stable_while_busy(steps: list[tuple[set[str], set[str]]]) -> None:
    slots = Slots({CPU: NAMES})
    for living, busy in steps:
        before = {slots.machine(CPU, n): n for n in range(4)}
        slots.update(living, busy)
        after = [slots.machine(CPU, n) for n in range(4)]
        named = [name for name in after if name is not None]
        assert len(set(named)) == len(named)
        assert set(named) <= living
        assert None not in after[: slots.count(CPU)]
        for name in busy & living & set(before):
            assert after[before[name]] == name  # what runs there is counted under that number
        if not busy:
            assert slots.count(CPU) == len(living)
