"""Moves of running jobs to cheaper sites: only where they gain, never without room, and the gain is what it says."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from moyai.model.ids import SiteName
from moyai.model.units import MICRO_YEN
from moyai.plan.migrate import migrations
from moyai.plan.types import Policy
from plan.world import GB, HOUR, MINUTE, NOW, busy, checkpoint, flavor, fleet, job, site

POLICY = Policy(migrations_per_round=4)
LONG = 20 * HOUR


def running(name: str = "a", where: str = "dear", left_us: int = 10 * HOUR, saved_us: int = 10 * HOUR, size: int = GB):
    """A job that ran for ten hours of twenty, its checkpoint at both sites, and its attempt."""
    view = checkpoint(f"c-{name}", size, "cheap", "dear")
    wanted = job(name, LONG, resumes=((view, saved_us),))
    more = {"preemptible": True, "grace_us": MINUTE, "unsaved_us": 10 * HOUR - saved_us}
    held = busy(name, where, (0,), left_us, wanted.order.need, **more)
    return wanted, held


def moves(dear: int, cheap: int, *, policy: Policy = POLICY, cheap_site=None, more=(), **figures):
    wanted, held = running(**figures)
    sites = (site("dear", dear), cheap_site or site("cheap", cheap))
    return migrations(fleet(*sites, busy=(held, *more)), (wanted,), NOW, policy)


def test_a_job_moves_to_where_the_rest_of_it_is_much_cheaper() -> None:
    (move,) = moves(300, 10)
    assert (move.attempt, move.target) == ("a.1", SiteName("cheap"))
    assert move.gain_micro_yen > 0


def test_it_stays_where_prices_are_alike_or_the_gain_is_small() -> None:
    assert moves(30, 30) == ()
    assert moves(30, 27) == ()


def test_it_stays_where_too_much_would_run_again() -> None:
    assert moves(30, 10, saved_us=10 * HOUR)
    assert moves(30, 10, saved_us=HOUR) == ()


def test_it_stays_where_there_is_no_room_now() -> None:
    full = busy("b", "cheap", (0, 1), HOUR)
    assert moves(300, 10, more=(full,), cheap_site=site("cheap", 10, flavor(2, 4))) == ()


def test_it_stays_where_the_other_site_may_not_have_it() -> None:
    assert moves(300, 10, cheap_site=site("cheap", 10, draining=True)) == ()
    assert moves(300, 10, cheap_site=site("cheap", 10, lost=True)) == ()


def test_it_stays_where_it_would_miss_its_deadline() -> None:
    wanted, held = running(saved_us=9 * HOUR)
    for deadline, moved in ((NOW + 10 * HOUR + MINUTE, 0), (NOW + 30 * HOUR, 1)):
        late = replace(wanted, order=replace(wanted.order, deadline=deadline))
        snapshot = fleet(site("dear", 200), site("cheap", 10), busy=(held,))
        assert len(migrations(snapshot, (late,), NOW, POLICY)) == moved


def test_nothing_that_can_not_be_stopped_is_moved() -> None:
    wanted, held = running()
    snapshot = fleet(site("dear", 300), site("cheap", 10), busy=(replace(held, preemptible=False),))
    assert migrations(snapshot, (wanted,), NOW, POLICY) == ()


def test_the_budget_and_one_a_round_to_each_site() -> None:
    pairs = [running(f"j{i}") for i in range(6)]
    jobs, held = [wanted for wanted, _ in pairs], tuple(b for _, b in pairs)
    sites = (site("dear", 300, flavor(6)), site("cheap", 10, flavor(6)), site("cheaper", 5, flavor(6)))
    snapshot = fleet(*sites, busy=held)
    found = migrations(snapshot, jobs, NOW, POLICY)
    assert len(found) == len({m.target for m in found})
    assert migrations(snapshot, jobs, NOW, replace(POLICY, migrations_per_round=1)) == found[:1]


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 10), st.integers(0, 1_000))
def test_a_move_gains_the_policys_share_and_never_goes_to_a_dearer_site(
    here: int, there: int, saved_h: int, share_milli: int
) -> None:
    policy = replace(POLICY, migrate_gain_milli=share_milli)
    for move in moves(here, there, policy=policy, saved_us=saved_h * HOUR):
        assert there < here
        # Ten hours of one busy core of four: what staying costs at least, in electricity alone.
        assert move.gain_micro_yen <= 10 * here * MICRO_YEN * 150 // 1_000


@given(st.integers(1, 400), st.integers(1, 400))
def test_no_job_would_be_moved_back_at_once(here: int, there: int) -> None:
    if not moves(here, there):
        return
    wanted, held = running(where="cheap")
    snapshot = fleet(site("dear", here), site("cheap", there), busy=(held,))
    assert migrations(snapshot, (wanted,), NOW, POLICY) == ()
