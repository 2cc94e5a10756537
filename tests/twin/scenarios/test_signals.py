"""Prices and carbon over time."""

from pathlib import Path

import pytest

from moyai.model.events import Signal
from moyai.twin.scenarios.make import setup
from moyai.twin.scenarios.signals import series
from moyai.twin.traces.trace import TraceError
from twin.scenarios.small import HOUR, TEXT, job, scenario, trace

CARBON = Path(__file__).parents[3].parent / "shared/data/energy/carbon"


def made(signal: str, base: Path = Path(), more: str = ""):
    text = f"{more}signals: [{signal}]\nplan_every"
    return setup(scenario(TEXT, ("plan_every", text), base=base), trace(job(1), job(2, 3 * HOUR)))


def test_by_hour_in_local_time() -> None:
    values = ", ".join(str(10 + hour) for hour in range(24))
    found = made(
        f"{{sites: [east], signal: price, by_hour: [{values}]}}",
        more="began: 2030-07-01T22:30+00:00\nutc_offset_h: 1\n",
    )
    assert found.profiles[0].price_micro_yen_per_kwh == 33_000_000  # 23:30
    first = found.changes[:3]
    assert [(c.at_us, c.signal, c.value) for c in first] == [
        (HOUR // 2, Signal.PRICE, 10_000_000),
        (HOUR // 2 + HOUR, Signal.PRICE, 11_000_000),
        (HOUR // 2 + 2 * HOUR, Signal.PRICE, 12_000_000),
    ]
    assert {c.site for c in found.changes} == {"east"}


def test_steps_and_only_what_changes() -> None:
    found = made(
        "{sites: [east, west], signal: power-cap, steps: [{at: 0s, value: 40}, {at: 1h, value: 40}, {at: 2h, value: 0}]}"
    )
    assert [p.power_cap_w for p in found.profiles] == [40_000, 40_000]
    assert [(c.at_us, c.site, c.value) for c in found.changes] == [(2 * HOUR, "east", 0), (2 * HOUR, "west", 0)]


def test_a_column_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("hour,g\n" + "".join(f"{n},{100.5 + n}\n" for n in range(9)), "utf-8")
    found = made("{sites: [west], signal: carbon, csv: {file: c.csv, column: g, skip: 2}}", tmp_path)
    assert found.profiles[1].carbon_mg_per_kwh == 102_500
    assert [(c.at_us // HOUR, c.value) for c in found.changes[:2]] == [(1, 103_500), (2, 104_500)]
    with pytest.raises(TraceError, match=r"c.csv: holds 3 values after the first 6, and the replay needs 4"):
        made("{sites: [west], signal: carbon, csv: {file: c.csv, column: g, skip: 6}}", tmp_path)


def test_bad_values_of_a_file_are_told_by_line(tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_text("g\n1\nNaN\n-3\n4 g\n5\n", "utf-8")
    with pytest.raises(TraceError) as caught:
        series(file, "g")
    lines = str(caught.value).splitlines()
    assert [row.split(":")[1] for row in lines] == ["3", "4", "5"]
    with pytest.raises(TraceError, match="the header has no x"):
        series(file, "x")
    with pytest.raises(TraceError, match="no such file"):
        series(tmp_path / "none.csv", "g")


@pytest.mark.skipif(not CARBON.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("JP-TK_2022.csv", "direct_g_per_kwh"),
        ("JP-KN_2022_umass.csv", "ci_g_per_kwh"),
        ("umass_ES_2022_hourly.csv.gz", "Carbon Intensity gCO₂eq/kWh (direct)"),
    ],
)
def test_the_real_series(file: str, column: str) -> None:
    values = series(CARBON / file, column)
    assert len(values) == 8_760
    assert all(0 < value < 1_000 for value in values)
