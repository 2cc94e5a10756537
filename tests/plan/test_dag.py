"""A workflow's tasks go where all costs least: against every choice there is; and no site gives more than it has."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from moyai.plan.dag import Dag, NoPlace, place_dag
from moyai.plan.dag_exact import cheapest, pairs_of
from moyai.plan.dag_search import SLACK, Search, largest_first, polished, repaired

COST = st.integers(0, 40)


@st.composite
def dags(draw: st.DrawFn, *, bounded: bool = True, most_edges: int = 8) -> Dag:
    """Up to 5 tasks on up to 3 sites, any graph between them, some tasks barred from some sites."""
    tasks, sites = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    run = np.array(
        draw(st.lists(st.sampled_from([*range(0, 40, 3), np.inf]), min_size=tasks * sites, max_size=tasks * sites))
    )
    possible = [(a, b) for a in range(tasks) for b in range(a + 1, tasks)]
    edges = draw(st.lists(st.sampled_from(possible), max_size=most_edges)) if possible else []
    move = draw(st.lists(COST, min_size=len(edges) * sites**2, max_size=len(edges) * sites**2))
    demand = draw(st.lists(st.integers(0, 5), min_size=tasks, max_size=tasks))
    capacity = draw(
        st.lists(st.sampled_from([3, 5, 8, np.inf] if bounded else [np.inf]), min_size=sites, max_size=sites)
    )
    return Dag(
        run.reshape(tasks, sites).astype(float),
        np.array(edges, np.int64).reshape(-1, 2),
        np.array(move, float).reshape(-1, sites, sites),
        np.array(demand, float),
        np.array(capacity, float),
    )


def literal(dag: Dag, choice: tuple[int, ...]) -> float:
    """What a choice costs; inf where it doesn't fit or a task can't run there."""
    for site, room in enumerate(dag.capacity):
        if sum(d for d, s in zip(dag.demand, choice, strict=True) if s == site) > room:
            return np.inf
    runs = sum(dag.run[task, site] for task, site in enumerate(choice))
    return runs + sum(cost[choice[a], choice[b]] for (a, b), cost in zip(dag.edges.tolist(), dag.move, strict=True))


def least(dag: Dag) -> float:
    tasks, sites = dag.run.shape
    return min(literal(dag, choice) for choice in product(range(sites), repeat=tasks))


@settings(max_examples=150, deadline=None)
@given(dag=dags(bounded=False))
def test_where_no_site_is_ever_full_the_answer_is_the_best(dag: Dag) -> None:
    best = least(dag)
    if not np.isfinite(best):
        with pytest.raises(NoPlace, match="can run at none"):
            place_dag(dag)
        return
    plan = place_dag(dag)
    assert literal(dag, plan.sites) == pytest.approx(best) == pytest.approx(plan.cost) == pytest.approx(plan.bound)


@settings(max_examples=150, deadline=None)
@given(dag=dags())
def test_with_full_sites_the_answer_fits_and_the_bound_holds(dag: Dag) -> None:
    best = least(dag)
    try:
        plan = place_dag(dag, rounds=12, steps=20)
    except NoPlace:
        return
    assert literal(dag, plan.sites) == pytest.approx(plan.cost)
    assert plan.bound <= best + 1e-6
    assert best <= plan.cost + 1e-6
    assert plan.gap >= -1e-9


@settings(max_examples=80, deadline=None)
@given(dag=dags(bounded=False), most_cells=st.integers(1, 30))
def test_a_graph_too_wide_to_be_solved_still_gets_a_bound_that_holds(dag: Dag, most_cells: int) -> None:
    best = least(dag)
    assume(np.isfinite(best))
    answer = cheapest(dag.run, pairs_of(dag.edges, dag.move), most_cells=most_cells)
    assert answer.bound <= best + 1e-6
    if answer.exact:
        assert literal(dag, tuple(answer.sites.tolist())) == pytest.approx(best) == pytest.approx(answer.bound)
    plan = place_dag(dag, rounds=5, steps=10, most_cells=most_cells)
    assert plan.bound <= best + 1e-6
    assert best - 1e-6 <= plan.cost == pytest.approx(literal(dag, plan.sites))


@settings(max_examples=100, deadline=None)
@given(dag=dags(), data=st.data())
def test_what_the_search_says_a_change_costs_is_what_it_costs(dag: Dag, data: st.DataObject) -> None:
    tasks, sites = dag.run.shape
    dag = Dag(np.where(np.isfinite(dag.run), dag.run, 50.0), dag.edges, dag.move, dag.demand, dag.capacity * np.inf)
    search = Search.of(dag.run, pairs_of(dag.edges, dag.move), dag.demand, dag.capacity)
    choice = np.array(data.draw(st.lists(st.integers(0, sites - 1), min_size=tasks, max_size=tasks)), np.int64)
    dearer = search.dearer(choice)
    now = literal(dag, tuple(choice.tolist()))
    assert search.cost(choice) == pytest.approx(now)
    for task, site in product(range(tasks), range(sites)):
        other = choice.copy()
        other[task] = site
        assert dearer[task, site] == pytest.approx(literal(dag, tuple(other.tolist())) - now)
    together = search.together(choice, dearer)
    for pair, site in product(range(len(search.first)), range(sites)):
        other = choice.copy()
        other[[search.first[pair], search.second[pair]]] = site
        assert together[pair, site] == pytest.approx(literal(dag, tuple(other.tolist())) - now)


@settings(max_examples=80, deadline=None)
@given(dag=dags(), data=st.data())
def test_repair_makes_it_fit_and_polish_makes_it_no_dearer(dag: Dag, data: st.DataObject) -> None:
    tasks, sites = dag.run.shape
    run = np.where(np.isfinite(dag.run), dag.run, 50.0)
    search = Search.of(run, pairs_of(dag.edges, dag.move), dag.demand, dag.capacity * (1 + SLACK))
    choice = np.array(data.draw(st.lists(st.integers(0, sites - 1), min_size=tasks, max_size=tasks)), np.int64)
    for fits in (repaired(search, choice), largest_first(search)):
        if fits is None:
            continue
        assert (search.use(fits) <= search.room).all()
        better = polished(search, fits, steps=15)
        assert (search.use(better) <= search.room).all()
        assert search.cost(better) <= search.cost(fits) + 1e-6


def chain(capacity: list[float]) -> Dag:
    """Three tasks in a row; site 0 is cheapest for each, and a move costs 5."""
    move = np.full((2, 2, 2), 5.0)
    move[:, [0, 1], [0, 1]] = 0
    run = np.array([[1.0, 4.0]] * 3)
    return Dag(run, np.array([[0, 1], [1, 2]]), move, np.ones(3), np.array(capacity))


def test_data_that_is_dear_to_move_keeps_a_chain_together() -> None:
    assert place_dag(chain([np.inf, np.inf])).sites == (0, 0, 0)
    full = place_dag(chain([1.0, 3.0]))
    assert full.sites == (1, 1, 1)  # one task at site 0 would save 3 and move for 5
    assert full.cost == 12.0
    split = place_dag(chain([2.0, 2.0]))
    assert sorted(split.sites) == [0, 0, 1]
    assert split.cost == 11.0


def test_a_task_too_large_for_every_site_and_too_many_tasks_are_refused() -> None:
    with pytest.raises(NoPlace, match="task 0 can run at none of the 2 sites"):
        place_dag(chain([0.5, 0.5]))
    with pytest.raises(NoPlace, match="no choice for the 3 tasks"):
        place_dag(chain([1.0, 1.0]))


def test_no_task_is_no_cost() -> None:
    none = Dag(np.zeros((0, 2)), np.zeros((0, 2), np.int64), np.zeros((0, 2, 2)), np.zeros(0), np.zeros(2))
    assert place_dag(none).cost == 0.0


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("edges", np.array([[0, 3], [1, 2]]), "isn't one of the 3"),
        ("edges", np.array([[0, 0], [1, 2]]), "to itself"),
        ("edges", np.array([[0, 1]]), "moves for"),
        ("run", np.full((3, 2), np.nan), "NaN"),
        ("move", np.full((2, 2, 2), np.inf), "finite"),
        ("demand", np.array([1.0, -1.0, 0.0]), "below 0"),
        ("demand", np.ones(2), "demands for 3 tasks"),
        ("capacity", np.array([1.0, np.nan]), "below 0"),
    ],
)
def test_what_makes_no_sense_is_refused(field: str, value: np.ndarray, says: str) -> None:
    dag = chain([1.0, 1.0])
    fields = {name: getattr(dag, name) for name in ("run", "edges", "move", "demand", "capacity")}
    with pytest.raises(ValueError, match=says):
        Dag(**{**fields, field: value})
