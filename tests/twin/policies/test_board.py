"""The board: what is free, by looking at changes alone."""

from dataclasses import replace

from moyai.model.events import Placement
from moyai.model.ids import FlavorName, JobId, SiteName
from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.plan.types import Planned
from moyai.twin.policies.board import Board
from moyai.twin.policies.pools import Nodes, ranks_by_node
from plan.world import GIB, HOUR, NOW, busy, flavor, fleet, site

POOL = (SiteName("a"), FlavorName("cpu"))


def free(board: Board) -> list[int]:
    """Free cores of each node."""
    return [cores for cores, _, _ in board.pools[POOL].nodes.free]


def planned(name: str, *nodes: int, power_w: int = 0) -> Planned:
    """A job that was placed for an hour."""
    place = Placement(*POOL, nodes, NOW, Instant(NOW + HOUR), power_w, 0, 0, 0, ())
    return Planned(JobId(name), place)


def test_what_was_placed_is_held_until_the_next_snapshot():
    """Then it is there as an attempt, or it isn't there at all."""
    board = Board()
    board.sync(fleet(site("a")))
    board.take(planned("j", 1, 1), Need(1))
    board.take(planned("k", 0), Need(3))
    assert free(board) == [1, 2]
    board.sync(fleet(site("a"), busy=[busy("j", "a", [1, 1], HOUR, Need(1))]))
    assert free(board) == [4, 2]
    board.sync(fleet(site("a")))
    assert free(board) == [4, 4]


def test_an_attempt_on_other_nodes_than_were_planned():
    """The snapshot is right."""
    board = Board()
    board.sync(fleet(site("a", cap_w=1_000)))
    board.take(planned("j", 1), Need(2))
    board.sync(fleet(site("a", cap_w=1_000), busy=[busy("j", "a", [0], HOUR, Need(2), power_w=40)]))
    assert free(board) == [2, 4]
    assert board.spare_w == {"a": 1_000 - 100 - 40}


def test_power_of_a_capped_site():
    """The cap less what all nodes draw idle, less what the attempts draw."""
    board = Board()
    board.sync(fleet(site("a", cap_w=400), site("b"), busy=[busy("j", "a", [0], HOUR, power_w=120)]))
    assert board.spare_w == {"a": 180}
    assert board.fits_power(SiteName("a"), 180)
    assert not board.fits_power(SiteName("a"), 181)
    assert board.fits_power(SiteName("b"), 10**9)
    board.take(planned("k", 1, power_w=80), Need(1))
    assert board.spare_w == {"a": 100}


def test_an_end_that_moves_keeps_the_nodes():
    """The order of the ends is the new one."""
    board, late = Board(), busy("j", "a", [0], 3 * HOUR)
    board.sync(fleet(site("a"), busy=[late, busy("k", "a", [1], 2 * HOUR)]))
    assert [h.name for _, _, h in board.pools[POOL].ends] == ["k.1", "j.1"]
    board.sync(fleet(site("a"), busy=[replace(late, end=Instant(NOW + HOUR)), busy("k", "a", [1], 2 * HOUR)]))
    assert [h.name for _, _, h in board.pools[POOL].ends] == ["j.1", "k.1"]
    assert free(board) == [0, 0]


def test_an_attempt_where_no_such_nodes_are():
    """Its power counts, its nodes can't."""
    odd = busy("j", "a", [0, 7, -1], HOUR, power_w=50)
    elsewhere = replace(busy("k", "a", [0], HOUR, power_w=30), flavor=FlavorName("gone"))
    lost = busy("l", "nowhere", [0], HOUR, power_w=30)
    board = Board()
    board.sync(fleet(site("a", cap_w=500), busy=[odd, elsewhere, lost]))
    assert free(board) == [0, 4]
    assert board.spare_w == {"a": 320}
    board.sync(fleet(site("a", cap_w=500)))
    assert free(board) == [4, 4]
    assert board.spare_w == {"a": 400}


def test_a_site_that_grows_keeps_what_runs_there():
    """Other nodes: everything is counted anew."""
    held = busy("j", "a", [0, 1, 2], HOUR)
    board = Board()
    board.sync(fleet(site("a", 30, flavor(2)), busy=[held]))
    version = board.pools[POOL].version
    assert free(board) == [0, 0]
    board.sync(fleet(site("a", 30, flavor(4)), busy=[held]))
    assert free(board) == [0, 0, 0, 4]
    assert board.pools[POOL].version > version
    board.sync(fleet(site("a", 30, flavor(4))))
    assert free(board) == [4] * 4


def test_rules_change_with_the_sites_and_not_with_prices():
    """So that where jobs may be isn't asked every hour."""
    board, view = Board(), site("a", 30)
    board.sync(fleet(view, site("b")))
    before = board.rules
    board.sync(fleet(site("a", 55), site("b")))
    assert board.rules == before
    assert board.sites[SiteName("a")].profile.price_micro_yen_per_kwh == 55_000_000
    board.sync(fleet(replace(view, draining=True), site("b")))
    assert board.rules > before
    before = board.rules
    board.sync(fleet(replace(view, draining=True), site("b"), links=[]))
    assert board.rules > before


def test_nodes_with_as_much_free_share_a_bucket():
    """Kept in order, and none empty."""
    nodes = Nodes(flavor(3, 4))
    whole = (4, 16 * GIB, 0)
    nodes.take(((1, 2),), (1, GIB, 0))
    assert nodes.buckets == {whole: [0, 2], (2, 14 * GIB, 0): [1]}
    twin = nodes.copy()
    nodes.take(((1, 2),), (1, GIB, 0), sign=-1)
    assert nodes.buckets == {whole: [0, 1, 2]}
    assert twin.buckets == {whole: [0, 2], (2, 14 * GIB, 0): [1]}


def test_room_counts_ranks_not_nodes():
    """Several ranks of one job may lie on a node."""
    nodes = Nodes(flavor(2, 4))
    assert nodes.has_room((1, 0, 0), 8)
    assert not nodes.has_room((1, 0, 0), 9)
    assert nodes.has_room((3, 0, 0), 2)
    assert not nodes.has_room((3, 0, 0), 3)
    nodes.take(((0, 1),), (1, 0, 0))
    assert not nodes.has_room((1, 0, 0), 8)
    assert nodes.has_room((1, 0, 0), 7)
    assert nodes.has_room((0, 0, 0), 99)


def test_ranks_by_node():
    """As placements write them."""
    assert ranks_by_node((2, 0, 2), 3) == ((0, 1), (2, 2))
    assert ranks_by_node((3,), 3) == ()
    assert ranks_by_node((2,), 3) == ((2, 1),)
    assert ranks_by_node((), 3) == ()
