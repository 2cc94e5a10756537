"""Graphs and the residency that files inherit, on any graph and any rules."""

from hypothesis import given
from hypothesis import strategies as st

from moyai.model.site import within
from moyai.model.workflow import TaskOrder, both, circle_of, in_order, inherited, parents_of, problems
from moyai.model.workload import JobOrder, Need

CODES = st.lists(st.sampled_from(["JP", "JP-01", "JP-13", "JP-40", "DE", "DE-BE", "US"]), max_size=3, unique=True)
PLACES = ["JP", "JP-01", "JP-13", "JP-40", "DE", "DE-BE", "DE-HH", "US", "FR"]


@given(CODES.map(tuple), CODES.map(tuple))
def test_both_allows_exactly_the_places_that_each_allows(one, other) -> None:
    rule = both(one, other)
    for place in PLACES:
        expected = within(place, one) and within(place, other)
        assert (rule is not None and within(place, rule)) == expected, place


@st.composite
def edges(draw):
    count = draw(st.integers(1, 7))
    pairs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=10))
    return count, pairs


def orders(count, pairs):
    return tuple(
        TaskOrder(JobOrder(f"t{i}", Need()), after=tuple(dict.fromkeys(f"t{a}" for a, b in pairs if b == i)))
        for i in range(count)
    )


@given(edges())
def test_a_graph_is_in_order_or_has_a_circle_that_is_one(graph) -> None:
    tasks = orders(*graph)
    parents = parents_of(tasks)
    order, circle = in_order(parents), circle_of(tasks)
    for at, task in enumerate(order):
        assert set(parents[task]) <= set(order[:at])
    assert (len(order) == len(tasks)) == (not circle)
    for before, after in zip(circle, circle[1:] + circle[:1], strict=True):
        assert before in parents[after]
    assert len(set(circle)) == len(circle)
    assert bool(problems(tasks)) == bool(circle)


@given(st.lists(CODES.map(tuple), min_size=1, max_size=5))
def test_a_chain_of_files_hands_on_every_rule(rules) -> None:
    tasks = tuple(
        TaskOrder(
            JobOrder(f"t{i}", Need(), residency=rule),
            reads=(f"f{i - 1}",) if i else (),
            writes=(f"f{i}",),
        )
        for i, rule in enumerate(rules)
    )
    last = inherited(tasks, [[] for _ in tasks])[f"f{len(rules) - 1}"]
    for place in PLACES:
        assert (last is not None and within(place, last)) == all(within(place, rule) for rule in rules)
