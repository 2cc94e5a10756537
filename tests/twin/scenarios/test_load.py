"""Scenario files: what they become, and how wrong ones are refused."""

from pathlib import Path

import pytest

from moyai.model.specs.problems import SpecError
from moyai.model.specs.scenario import ScenarioSpec
from moyai.twin.replay.setup import Fault, Mishap
from moyai.twin.scenarios.scenario import built_in, distance_km, latency_us, load
from twin.scenarios.small import TEXT, scenario


def line(text: str) -> int:
    """The line of TEXT that holds `text`, from 1."""
    return next(n for n, row in enumerate(TEXT.splitlines(), 1) if text in row)


def refused(*changes: tuple[str, str]) -> str:
    with pytest.raises(SpecError) as caught:
        scenario(TEXT, *changes)
    return str(caught.value)


def test_a_scenario_becomes_a_fleet() -> None:
    found = scenario()
    assert [p.name for p in found.profiles] == ["east", "west"]
    (link,) = found.links
    assert (link.a, link.b, link.bytes_per_second, link.egress_micro_yen_per_gb) == (
        "east",
        "west",
        1_250_000_000,
        1_500_000,
    )
    assert link.latency_us == latency_us(distance_km(*found.profiles))
    assert 850 < distance_km(*found.profiles) < 900
    assert latency_us(200_000) == 1_500_000


def test_a_written_latency_or_distance_goes_before_the_map() -> None:
    assert scenario(TEXT, ("10Gbit/s,", "10Gbit/s, latency: 9ms,")).links[0].latency_us == 9_000
    assert scenario(TEXT, ("10Gbit/s,", "10Gbit/s, distance_km: 1000,")).links[0].latency_us == 7_500
    assert "keep one of them" in refused(("10Gbit/s,", "10Gbit/s, latency: 9ms, distance_km: 3,"))


def test_faults_and_policy() -> None:
    more = "faults: [{site: west, at: 3h, what: back}, {site: west, at: 1h, what: lost}]\npolicy: {carbon_yen_per_kg: 40}\nplan"
    found = scenario(TEXT, ("plan", more))
    assert found.faults == (Fault(3_600_000_000, "west", Mishap.LOST), Fault(10_800_000_000, "west", Mishap.BACK))  # type: ignore[arg-type]
    assert found.policy.carbon_micro_yen_per_kg == 40_000_000


def test_a_guaranteed_share_reaches_the_planner() -> None:
    found = scenario(TEXT, ("home: east", "home: east, guaranteed_percent: 12.5"))
    assert found.policy.share_milli == {"acme": 125}


def test_everything_written_survives_a_round_trip() -> None:
    for name in built_in():
        spec = load(name).spec
        assert ScenarioSpec.from_data(spec.to_data()) == spec


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ((("price_yen_per_kwh: 30", "price_yen_per_kwh: NaN"),), "price_yen_per_kwh: 30", "sites[0].price_yen_per_kwh: 'NaN' is no plain number"),
        ((("count: 4", "count: 0"),), "count: 4", "sites[0].flavors[0].count: '0' is out of range"),
        ((("[east, west]", "[east, north]"),), "[east, west]", "links[0].between[1]: 'north' is no site of this file"),
        ((("home: east", "home: south"),), "home: east", "tenants[0].home: 'south' is no site of this file"),
        ((("home: east", "home: east, guaranteed_percent: 60}\n  - {name: zeta, home: west, guaranteed_percent: 50"),), "tenants:", "guarantees 110 % of the fleet"),
        ((("over: 6h", "over: -6h"),), "over: 6h", "jobs.synthetic.over: '-6h' is no span of time"),
        ((("over: 6h", "over: 6"),), "over: 6h", "has no unit"),
        ((("median: 20m", "median: 20 fortnights"),), "median: 20m", "is no span of time"),
        ((("10Gbit/s", "10Gbps"),), "10Gbit/s", "unit"),
        ((("plan_every", "plan_evry"),), "plan_every", "did you mean 'plan_every'?"),
        ((("share: 3", "share: nan"),), "share: 3", "jobs.synthetic.gangs[0].share: 'nan' is no plain number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(changes: tuple[tuple[str, str], ...], where: str, said: str) -> None:
    text = refused(*changes)
    assert text.startswith(f"s.yaml:{line(where)}: ")
    assert said in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("faults: [{site: west, at: 1h, what: back}]", "is not lost at that time"),
        ("faults: [{site: mars, at: 1h, what: lost}]", "'mars' is no site of this file"),
        ("signals: [{sites: [east], signal: price}]", "has no values; write one of `by_hour`, `csv` and `steps`"),
        ("signals: [{sites: [east], signal: price, by_hour: [1, 2]}]", "holds 2 values; write 24"),
        ("signals: [{sites: [east], signal: price, steps: [{at: 2h, value: 1}, {at: 1h, value: 2}]}]", "is not after the step before"),
        ("signals: [{sites: [east], signal: prise, steps: [{at: 2h, value: 1}]}]", "'prise' is not known here"),
        ("datasets: [{name: d, size: 1TB, site: moon}]", "'moon' is no site of this file"),
        ("datasets: [{name: d, size: 1 TX, site: east}]", "unit"),
        ("policies: [moyai, moyai]", "is listed twice"),
        ("seeds: 0", "is out of range"),
        ("policy: {horizon: 7}", "has no unit"),
    ],
)  # fmt: skip
def test_what_is_wrong_further_down(more: str, said: str) -> None:
    assert said in refused(("plan_every", f"{more}\nplan_every"))


def test_a_site_without_nodes_and_no_site_at_all() -> None:
    start, end = TEXT.index("    flavors:"), TEXT.index("  - name: west")
    assert "holds no kind of node" in refused((TEXT[start:end], "    flavors: []\n"))
    with pytest.raises(SpecError, match="names no site"):
        ScenarioSpec.from_text("name: x\nsites: []\n")


def test_all_problems_come_at_once() -> None:
    text = refused(("count: 4", "count: none"), ("over: 6h", "over: long"), ("plan_every", "plan_evry"))
    assert len(text.splitlines()) == 3


def test_a_name_that_is_neither_a_file_nor_built_in(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"did you mean 'japan'\?"):
        load("japn")
    with pytest.raises(SpecError, match="no such file"):
        load(tmp_path / "nothing.yaml")


def test_a_file_is_read_and_its_folder_is_the_base(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT, "utf-8")
    found = load(file)
    assert (found.name, found.base) == ("small", tmp_path)
