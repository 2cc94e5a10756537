"""A fleet for workflows, and the setup of a replay: everything about both is synthetic, and said to be."""

from random import Random

from moyai.model.ids import FlavorName, ProjectName, SiteName, TenantName
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.workload import DatasetProfile
from moyai.plan.types import Policy
from moyai.twin.engine import Work
from moyai.twin.replay.setup import Arrival, Flow, Placed, Setup
from moyai.twin.workflows.graph import Graph, dataset_of, task_orders

TENANT, PROJECT = TenantName("science"), ProjectName("workflows")
PLACES = (  # name, jurisdiction, yen per kWh, g CO2 per kWh, latitude and longitude in degrees
    ("fukuoka", "JP-40", 21, 380, 33.6, 130.4),
    ("ishikari", "JP-01", 23, 530, 43.2, 141.3),
    ("osaka", "JP-27", 22, 420, 34.7, 135.5),
    ("tokyo", "JP-13", 26, 450, 35.7, 139.7),
)
LATENCY_US = 10_000
EGRESS_MICRO_YEN_PER_GB = 1_000_000
NOTE = "fleet, prices, links and the places of the inputs are synthetic; run times and sizes are the trace's"


def fleet(nodes: int, cores: int, megabits: int) -> tuple[tuple[SiteProfile, ...], tuple[Link, ...]]:
    """Four sites of `nodes` nodes with `cores` cores each, every two of them joined at `megabits` Mbit/s."""
    profiles = tuple(
        SiteProfile(
            name=SiteName(name),
            engine="host",
            jurisdiction=code,
            latitude_microdeg=round(latitude * 1e6),
            longitude_microdeg=round(longitude * 1e6),
            flavors=(Flavor(FlavorName("cpu"), nodes, cores, 256 << 30, idle_w=100, peak_w=400),),
            price_micro_yen_per_kwh=yen * 1_000_000,
            carbon_mg_per_kwh=grams * 1_000,
            pue_milli=1_200,
            synthetic=True,
        )
        for name, code, yen, grams, latitude, longitude in PLACES
    )
    names = [p.name for p in profiles]
    rate = megabits * 125_000
    links = tuple(Link(a, b, rate, LATENCY_US, EGRESS_MICRO_YEN_PER_GB) for a in names for b in names if a < b)
    return profiles, links


def homes_of(graph: Graph, profiles: tuple[SiteProfile, ...], seed: int) -> dict[str, SiteName]:
    """Where each bundle from outside lies at the start: a site drawn by `seed`."""
    rng = Random(seed)  # noqa: S311 - a draw that must repeat, no secret
    return {bundle.name: rng.choice(profiles).name for bundle in graph.outside}


def setup(
    graph: Graph,
    profiles: tuple[SiteProfile, ...],
    links: tuple[Link, ...],
    homes: dict[str, SiteName],
    policy: Policy | None = None,
) -> Setup:
    """The replay of one workflow, submitted at the start."""
    orders = task_orders(graph, graph.name)
    writes = graph.writes()
    arrivals = tuple(
        Arrival(
            at_us=0,
            tenant=TENANT,
            project=PROJECT,
            key=f"{graph.name}/{task.name}",
            order=order.order,
            work=Work(task.run_us or 1, files=tuple((b.name, b.size_bytes) for b in writes[task.name])),
        )
        for task, order in zip(graph.tasks, orders, strict=True)
    )
    datasets = tuple(
        Placed(TENANT, PROJECT, DatasetProfile(dataset_of(graph.name, b), 1), homes[b.name], b.size_bytes)
        for b in graph.outside
    )
    return Setup(
        name=graph.name,
        profiles=profiles,
        links=links,
        arrivals=arrivals,
        workflows=(Flow(0, TENANT, PROJECT, graph.name, graph.name, orders),),
        datasets=datasets,
        homes={TENANT: profiles[-1].name},
        policy=policy or Policy(exact_below_cells=0),
        plan_every_us=1_000_000,
        notes=(NOTE,),
    )
