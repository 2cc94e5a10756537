"""Power of nodes, attempts and sites; energy in yen and carbon."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.facility import grid, power
from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import Flavor, SiteProfile
from moyai.model.workload import Need

HOUR = 3_600_000_000
CPU = Flavor(FlavorName("cpu"), 3, 16, 0, idle_w=60, peak_w=220)
GPU = Flavor(FlavorName("gpu"), 2, 64, 0, "H100", 8, idle_w=2_000, peak_w=10_200)


def test_a_node_draws_from_idle_to_peak():
    assert power.node_power_w(CPU, 0) == 60
    assert power.node_power_w(CPU, 1) == 220
    assert power.node_power_w(CPU, 0.5) == 140
    assert power.node_power_w(CPU, 0.5, exponent=2) == 100
    with pytest.raises(ValueError, match="outside"):
        power.node_power_w(CPU, 1.1)


def test_an_attempt_is_charged_what_it_adds_at_the_feed():
    assert power.attempt_power_w(Need(16), 1, CPU, 1_000) == 160
    assert power.attempt_power_w(Need(1), 1, CPU, 1_000) == 10
    assert power.attempt_power_w(Need(1), 3, CPU, 1_500) == 45
    assert power.attempt_power_w(Need(1), 1, CPU, 1_150) == 12  # 11.5, rounded up
    assert power.attempt_power_w(Need(64, 0, "H100", 8), 1, GPU, 1_000) == 8_200
    assert power.attempt_power_w(Need(1, 0, "H100", 4), 1, GPU, 1_000) == 3_306


def test_a_site_with_everything_at_full_load_draws_its_peak():
    profile = SiteProfile(SiteName("s"), "host", "JP", 0, 0, (CPU, GPU), 0, 0, 1_200)
    assert power.idle_power_w(profile) == (180 + 4_000) * 12 // 10
    full = power.attempt_power_w(Need(16), 3, CPU, 1_200) + power.attempt_power_w(Need(64, 0, "H100", 8), 2, GPU, 1_200)
    assert power.idle_power_w(profile) + full == power.peak_power_w(profile)
    assert power.feed_power_w(100, 1_200) == 120


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(0, 8)), max_size=30))
def test_ranks_that_fit_on_a_node_load_it_by_no_more_than_one(asks):
    cores, accelerators, load = 0, 0, 0.0
    for c, a in asks:
        if cores + c <= 64 and accelerators + a <= 8:
            cores, accelerators = cores + c, accelerators + a
            load += power.node_load(Need(c, 0, "H100" if a else "", a), GPU)
    assert load <= 1 + 1e-9


def test_energy_becomes_yen_and_carbon():
    assert grid.energy_j(150, 2 * HOUR) == 1_080_000
    assert grid.electricity_micro_yen(150, 2 * HOUR, 30_000_000) == 9_000_000
    assert grid.carbon_mg(150, 2 * HOUR, 450_000) == 135_000
    assert grid.carbon_micro_yen(135_000, 10_000_000) == 1_350_000
    assert grid.electricity_micro_yen(10, 1_000_000, 30_000_000) == 83  # a second of 10 W is not rounded to 0 Wh
    for figure in (grid.energy_j(1, 1), grid.carbon_mg(7, 12_345, 6), grid.electricity_micro_yen(1.5, 7, 9)):
        assert type(figure) is int
