"""The sites and workflows of sky.py, and the one function that says what a choice of sites costs.

Everything is drawn from a seed: synthetic prices of a plausible size, in dollars, as SkyPilot's catalogues are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moyai.plan.dag import Dag

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

PUBLIC = ("aws", "azure", "gcp")
"""Clouds that ask for data that leaves, at the prices in SkyPilot's own code."""
OWN = ("lambda", "fluidstack", "do", "paperspace", "runpod", "verda", "hyperbolic")
"""Names that stand for an organisation's own sites: SkyPilot prices what leaves them at 0, as it does Slurm and SSH."""
SITES = (*PUBLIC, *OWN)
ACCELERATORS = ("A100", "V100")
COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Task:
    """One task: its machine, how long it runs, and what it sends along each of its edges."""

    accelerator: str
    count: int
    hours: float
    gigabytes: float


@dataclass(frozen=True, slots=True)
class Workflow:
    """Tasks in an order in which they can run, and the edges between them."""

    shape: str  # "chain" or "dag"
    tasks: tuple[Task, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class World:
    """What the sites offer."""

    offers: dict[str, dict[str, dict[int, float]]]  # site → accelerator → count → dollars an hour
    line: F64  # (sites, sites) dollars a GB over the sites' own lines; 0 on the diagonal


@dataclass(frozen=True, slots=True)
class Settled:
    """What a choice came to."""

    dollars: float
    moved: int  # tasks that found their site full and went elsewhere
    sites: tuple[int, ...]


def world_of(seed: int) -> World:
    """Ten sites: each dearer or cheaper for each machine; lines at 0.01 to 0.06 dollars a GB."""
    draw = np.random.default_rng([seed, 0])
    offers = {
        site: {
            name: {n: round(float(base * n * draw.uniform(0.7, 1.3)), 4) for n in COUNTS}
            for name, base in zip(ACCELERATORS, (3.2, 1.6), strict=True)
        }
        for site in SITES
    }
    line = draw.uniform(0.01, 0.06, (len(SITES), len(SITES)))
    line = (line + line.T) / 2
    np.fill_diagonal(line, 0.0)
    return World(offers, line)


def workflow_of(seed: int, shape: str, size: int) -> Workflow:
    """A chain, or a graph in layers of 1 to 4 tasks, each of which reads what 1 to 3 tasks of the layer before sent."""
    draw = np.random.default_rng([seed, 1, size, int(shape == "chain")])
    tasks = tuple(
        Task(
            ACCELERATORS[int(draw.integers(2))],
            int(draw.choice(COUNTS)),
            round(float(draw.uniform(1, 12)), 3),
            round(float(np.clip(draw.lognormal(4.5, 1.2), 2, 1000)), 1),
        )
        for _ in range(size)
    )
    if shape == "chain":
        return Workflow(shape, tasks, tuple((i, i + 1) for i in range(size - 1)))
    edges: list[tuple[int, int]] = []
    last, at = [0], 1
    while at < size:
        layer = list(range(at, min(size, at + int(draw.integers(1, 5)))))
        for task in layer:
            reads = draw.choice(last, min(len(last), int(draw.integers(1, 4))), replace=False)
            edges += [(int(sender), task) for sender in sorted(reads)]
        last, at = layer, layer[-1] + 1
    return Workflow(shape, tasks, tuple(edges))


def run_cost(world: World, workflow: Workflow) -> F64:
    """(tasks, sites): dollars of each task at each site."""
    return np.array([[world.offers[s][t.accelerator][t.count] * t.hours for s in SITES] for t in workflow.tasks])


def move_cost(world: World, workflow: Workflow, egress: dict[str, dict[float, float]], *, lines: bool) -> F64:
    """(edges, sites, sites): dollars of each edge's data from the row's site to the column's.

    egress  site → GB → dollars, as SkyPilot has it
    lines   whether the sites' own lines cost something too, on top; without, this is SkyPilot's own model
    """
    cost = np.zeros((len(workflow.edges), len(SITES), len(SITES)))
    for e, (sender, _) in enumerate(workflow.edges):
        size = workflow.tasks[sender].gigabytes
        cost[e] = np.array([egress[s][size] for s in SITES])[:, None] + (size * world.line if lines else 0.0)
        np.fill_diagonal(cost[e], 0.0)
    return cost


def demand_of(workflow: Workflow) -> F64:
    """(tasks,): GPU-hours."""
    return np.array([t.count * t.hours for t in workflow.tasks])


def capacity_of(seed: int, workflow: Workflow) -> F64:
    """(sites,): GPU-hours that each site has left for this workflow, twice what it takes over all sites together.

    No site has less than its largest task takes, so that nothing is impossible by itself.
    """
    draw = np.random.default_rng([seed, 2])
    demand = demand_of(workflow)
    return np.maximum(2 * demand.sum() * draw.dirichlet(np.full(len(SITES), 4.0)), demand.max())


def settle(dag: Dag, choice: I64) -> Settled:
    """What a choice of sites costs once sites can be full: the one function by which both answers are judged.

    Tasks come in their order. One whose site has not enough GPU-hours left does not wait, as it would wait for ever: it
    goes to the site that has enough and where running it and moving its inputs, from where its senders really ran, cost
    least. That is kinder than SkyPilot, which tries the next cheapest machine and leaves moves out of it. Dollars are
    those of runs and moves at the sites where tasks really ran; a task that no site can take any more raises
    ValueError. With capacities of inf this is the plain cost of the choice.
    """
    spare = dag.capacity * (1 + 1e-9)
    sites = choice.copy()
    dollars, moved = 0.0, 0
    for task, wanted in enumerate(choice):
        inputs = np.flatnonzero(dag.edges[:, 1] == task)
        cost = dag.run[task] + dag.move[inputs, sites[dag.edges[inputs, 0]], :].sum(axis=0)
        site = int(wanted)
        if dag.demand[task] > spare[site]:
            open_to = np.where(dag.demand[task] > spare, np.inf, cost)
            site = int(open_to.argmin())
            if not np.isfinite(open_to[site]):
                raise ValueError(f"no site has {dag.demand[task]:.1f} GPU-hours left for task {task}")
            moved += 1
        sites[task] = site
        spare[site] -= dag.demand[task]
        dollars += float(cost[site])
    return Settled(dollars, moved, tuple(sites.tolist()))
