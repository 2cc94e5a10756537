"""A small fleet and small jobs for the tests of the replay."""

from collections.abc import Sequence

from moyai.control.core import replay as rebuild
from moyai.control.state import State
from moyai.model import events as e
from moyai.model.envelope import GENESIS, Record, open_record
from moyai.model.ids import DatasetName, FlavorName, ProjectName, SiteName, TenantName
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.units import Instant
from moyai.model.workload import CheckpointRule, DatasetProfile, DataUse, JobOrder, Need
from moyai.plan.types import Policy
from moyai.twin.engine import Work
from moyai.twin.replay.setup import Arrival, Placed, Setup
from moyai.twin.world import START

SECOND = 1_000_000
HOUR = 3_600 * SECOND
ACME, LAB = TenantName("acme"), ProjectName("lab")
EAST, WEST = SiteName("east"), SiteName("west")
PLAIN = Policy(exact_below_cells=0)
GPU = Need(cores=4, accelerator="H100", accelerators=4)


def site(name: SiteName, nodes: int = 2, yen: int = 20) -> SiteProfile:
    """A site of nodes with four GPUs each."""
    flavor = Flavor(FlavorName("gpu"), nodes, 32, 64 << 30, "H100", 4, 300, 2_300, 500_000_000)
    return SiteProfile(name, "host", "JP", 0, 0, (flavor,), yen * 1_000_000, 400_000, pue_milli=1_200)


def job(
    number: int,
    at_us: int = 0,
    run_us: int = HOUR,
    *,
    need: Need = GPU,
    nodes: int = 1,
    data: tuple[str, ...] = (),
    saves_us: int = 0,
    failing: int = 0,
    deadline_us: int = 0,
    residency: tuple[str, ...] = (),
    limit_us: int = 0,
    priority: int = 0,
) -> Arrival:
    """A job that needs a whole node, and says how long it takes."""
    order = JobOrder(
        name=f"job-{number}",
        need=need,
        nodes=nodes,
        priority=priority,
        deadline=Instant(START + deadline_us) if deadline_us else None,
        expect_us=run_us,
        limit_us=limit_us,
        retries=failing,
        residency=residency,
        data=tuple(DataUse(DatasetName(name), 0) for name in data),
        checkpoint=CheckpointRule() if saves_us else None,
    )
    return Arrival(at_us, ACME, LAB, f"key-{number}", order, Work(run_us, failing, saves_us))


def dataset(name: str, at: SiteName, size_bytes: int) -> Placed:
    """A dataset at a site."""
    return Placed(ACME, LAB, DatasetProfile(DatasetName(name), 0), at, size_bytes)


def setup(*arrivals: Arrival, east: int = 2, west: int = 2, mb_per_second: int = 100) -> Setup:
    """Two sites with a link, and those jobs."""
    return Setup(
        "small",
        (site(EAST, east), site(WEST, west, 21)),
        (Link(EAST, WEST, mb_per_second * 1_000_000, 5_000, 10_000_000),),
        tuple(sorted(arrivals, key=lambda a: a.at_us)),
    )


class Log:
    """Every record of a replay, and the state that they make."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def __call__(self, records: Sequence[Record]) -> None:
        self.records += records

    def bodies(self, kind: type[e.EventBody]) -> list[e.EventBody]:
        return [r.body for r in self.records if type(r.body) is kind]

    def state(self) -> State:
        """The state, built anew from the bytes alone."""
        read: list[Record] = []
        prev = GENESIS
        for seq, record in enumerate(self.records, 1):
            read.append(open_record(record.data, seq, prev))
            prev = record.hash
        return rebuild(State(), read)
