"""Copies ahead of demand pay: where a new version of a dataset comes every day, jobs find it instead of waiting for it."""

from dataclasses import replace

from moyai.model.ids import DatasetName, FlavorName, ProjectName, SiteName, TenantName
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.workload import DatasetProfile, DataUse, JobOrder, Need
from moyai.plan.place import plan
from moyai.plan.types import Policy
from moyai.twin.engine import Work
from moyai.twin.replay.figures import figures
from moyai.twin.replay.run import replay
from moyai.twin.replay.setup import Arrival, Placed, Setup

HOUR = 3_600_000_000
DAYS = 6
SIZE = 200_000_000_000
TENANT, PROJECT, FEED = TenantName("lab"), ProjectName("daily"), DatasetName("feed")


def site(name: str, code: str, accelerator: str = "") -> SiteProfile:
    flavor = Flavor(FlavorName("n"), 4, 16, 64 << 30, accelerator, 8 if accelerator else 0, 100, 400)
    return SiteProfile(SiteName(name), "host", code, 0, 0, (flavor,), 20_000_000, 400_000, synthetic=True)


def daily() -> Setup:
    """A feed lands at `store` at the beginning of each day; six hours later jobs at `one` and `two` read the newest."""
    profiles = (site("one", "JP-01", "A100"), site("store", "JP-13"), site("two", "JP-40", "A100"))
    names = [p.name for p in profiles]
    links = tuple(Link(a, b, 50_000_000, 5_000, 1_000_000) for a in names for b in names if a < b)
    datasets, arrivals = [], []
    for day in range(DAYS):
        profile = DatasetProfile(FEED, day + 1)
        datasets.append(Placed(TENANT, PROJECT, profile, SiteName("store"), SIZE, day * 24 * HOUR))
        for where in ("JP-01", "JP-40"):
            for number in range(2):
                order = JobOrder(
                    "read",
                    Need(1, 0, "A100", 1),
                    residency=(where,),
                    expect_us=HOUR // 2,
                    data=(DataUse(FEED, 0),),
                )
                at = (day * 24 + 6) * HOUR + number * 60_000_000
                arrivals.append(Arrival(at, TENANT, PROJECT, f"{day}-{where}-{number}", order, Work(HOUR // 2)))
    return Setup("daily", profiles, links, tuple(arrivals), (), tuple(datasets))


def test_a_daily_demand_waits_less_and_moves_no_more() -> None:
    plain = replay(daily(), plan, policy="moyai")
    ahead = replay(
        replace(daily(), policy=Policy(replicate_bytes_per_hour=2 * SIZE, exact_below_cells=0)), plan, policy="moyai"
    )
    without, with_ = figures(plain), figures(ahead)
    assert without.unfinished == with_.unfinished == 0
    assert ahead.wan_bytes <= plain.wan_bytes
    # Every day after the first finds its data there.
    assert with_.mean_wait_s < without.mean_wait_s / 2
    first = [row for row in ahead.jobs if row.submitted_us < 24 * HOUR]
    assert all(row.moved_bytes == 0 for row in ahead.jobs if row not in first)


def test_under_a_cap_yesterdays_copies_make_room() -> None:
    policy = Policy(replicate_bytes_per_hour=2 * SIZE, replicate_bytes_per_site=2 * SIZE, exact_below_cells=0)
    drops = []
    done = replay(
        replace(daily(), policy=policy),
        plan,
        policy="moyai",
        watch=lambda records: drops.extend(rec for rec in records if rec.kind == "ReplicaDropped"),
    )
    assert figures(done).unfinished == 0
    assert len(drops) >= DAYS - 2


def test_off_nothing_is_copied_ahead() -> None:
    moved = []
    replay(daily(), plan, policy="moyai", watch=lambda records: moved.extend(records))
    issued = [rec.body for rec in moved if rec.kind == "TransferIssued"]
    assert issued
    assert all(body.job is not None for body in issued)
