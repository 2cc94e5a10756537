"""Virtual time, its machines, and the network between them."""

import pytest

from moyai.model.ids import SiteName
from moyai.twin.network import Network
from moyai.twin.world import SECOND, Machine, OutOfTime, World

SITE = SiteName("tokyo")


def test_things_happen_in_the_order_of_their_times_then_of_their_asking() -> None:
    world, seen = World(1), []
    for name, delay in (("late", 20), ("first", 10), ("second", 10)):
        world.after(delay, seen.append, name)
    world.run(10)
    assert (seen, world.now) == (["first", "second"], 10)
    world.run(100)
    assert (seen[-1], world.now) == ("late", 100)


def test_a_world_that_never_rests_is_stopped() -> None:
    world = World(1)

    def again() -> None:
        world.after(1, again)

    again()
    with pytest.raises(OutOfTime):
        world.run(SECOND, bound=100)


def test_a_wall_clock_steps_and_a_boot_clock_drifts_and_starts_anew() -> None:
    world = World(1)
    machine = Machine(world, drift_ppm=1_000)
    wall, boot = machine.wall(), machine.boot()
    world.run(1_000 * SECOND)
    machine.wall_offset_us -= 3_600 * SECOND
    assert machine.wall() - wall == -2_600 * SECOND
    assert machine.boot() - boot == 1_001 * SECOND
    machine.reboot()
    assert machine.boot() == 0


def test_a_guard_that_waits_its_lease_out_wakes_when_it_is_over_on_its_own_clock() -> None:
    for drift in (-1_000, 0, 1_000):
        world = World(1)
        machine = Machine(world, drift)
        until = machine.boot() + 10 * SECOND
        world.run(world.now + machine.true_us(10 * SECOND))
        assert 0 <= machine.boot() - until <= 2


def test_a_cut_lets_nothing_through_in_its_direction_and_healing_lets_all() -> None:
    world = World(1)
    net, seen = Network(world), []
    net.cut(SITE, SECOND, up=True, down=False)
    net.up(SITE, seen.append, "up")
    net.down(SITE, seen.append, "down")
    world.run(SECOND // 2)
    assert seen == ["down"]
    assert not net.open(SITE)
    net.heal()
    net.up(SITE, seen.append, "up")
    world.run(SECOND)
    assert seen == ["down", "up"]


def test_messages_are_lost_and_doubled_as_often_as_told() -> None:
    world = World(1)
    net, seen = Network(world), []
    net.lost, net.doubled = 0.5, 0.5
    for number in range(2_000):
        net.up(SITE, seen.append, number)
    world.run(SECOND)
    assert 800 < len(set(seen)) < 1_200
    assert 1.3 < len(seen) / len(set(seen)) < 1.7
    assert seen != sorted(seen), "and they overtake each other"
