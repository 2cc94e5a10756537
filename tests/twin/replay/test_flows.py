"""Flows on one link share it; those on other links don't notice."""

from hypothesis import given
from hypothesis import strategies as st

from moyai.model.ids import SiteName
from moyai.model.site import Link
from moyai.twin.replay.agenda import Agenda
from moyai.twin.replay.flows import Links

A, B, C = SiteName("a"), SiteName("b"), SiteName("c")
SECOND = 1_000_000


def _run(sends: list[tuple[int, SiteName, SiteName, int]], cut: tuple[int, SiteName] | None = None) -> dict[int, int]:
    """When each flow was done, by its number; −1 where it broke."""
    agenda = Agenda()
    links = Links(agenda, [Link(A, B, 1_000, 0), Link(B, C, 1_000, 0)])
    done: dict[int, int] = {}
    for n, (at, source, target, size) in enumerate(sends):

        def over(_: int, n: int = n) -> None:
            done[n] = agenda.now

        def broken(n: int = n) -> None:
            done[n] = -1

        agenda.at(
            at,
            lambda s=source, t=target, b=size, o=over, x=broken: links.send(s, t, b, 0, pace=1_000, done=o, broken=x),
        )
    if cut:
        agenda.at(cut[0], links.cut, cut[1])
    while agenda:
        agenda.step()
    return done


def test_two_flows_take_twice_as_long_as_one() -> None:
    assert _run([(0, A, B, 10_000)]) == {0: 10 * SECOND}
    assert _run([(0, A, B, 10_000), (0, B, A, 10_000)]) == {0: 20 * SECOND, 1: 20 * SECOND}
    assert _run([(0, A, B, 10_000), (0, B, C, 10_000)]) == {0: 10 * SECOND, 1: 10 * SECOND}


def test_shares_change_as_flows_come_and_go() -> None:
    # Alone for 4 s, then half for as long as the other is there.
    assert _run([(0, A, B, 10_000), (4 * SECOND, A, B, 3_000)]) == {1: 10 * SECOND, 0: 13 * SECOND}


def test_a_slow_flow_leaves_the_rest_to_others() -> None:
    agenda = Agenda()
    links = Links(agenda, [Link(A, B, 1_000, 0)])
    took: dict[str, int] = {}
    for name, pace in (("slow", 200), ("fast", 1_000)):
        links.send(A, B, 8_000, 0, pace=pace, done=lambda us, n=name: took.update({n: us}), broken=lambda: None)
    while agenda:
        agenda.step()
    assert took == {"fast": 10 * SECOND, "slow": 40 * SECOND}


def test_a_cut_breaks_what_comes_from_there() -> None:
    done = _run([(0, A, B, 10_000), (0, B, A, 10_000), (0, B, C, 9_000)], cut=(2 * SECOND, A))
    assert done == {0: -1, 2: 9 * SECOND}


@given(st.lists(st.tuples(st.integers(0, 30 * SECOND), st.integers(1, 20_000)), min_size=1, max_size=8))
def test_a_link_is_never_idle_while_something_waits(flows: list[tuple[int, int]]) -> None:
    done = _run([(at, A, B, size) for at, size in flows])
    assert len(done) == len(flows)
    clock = 0
    for at, size in sorted(flows):
        clock = max(clock, at) + size * 1_000  # one after the other, the link would be free at that time as well
    assert abs(max(done.values()) - clock) <= 2 * len(flows) ** 2
    for n, (at, size) in enumerate(flows):
        assert done[n] >= at + size * 1_000
