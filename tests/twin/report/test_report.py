"""Tables, Parquet, the picture, and the directory that holds them."""

import json
import os
import sys
from math import inf, nan
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from moyai.twin.report.course import courses
from moyai.twin.report.folder import Taken, folder
from moyai.twin.report.parquet import Missing, arrow
from moyai.twin.report.picture import OURS, styles_of
from moyai.twin.report.results import HELD, in_order, results, thinned
from moyai.twin.report.summary import COST, OUTCOME, TABLES, cell, document, lines, table
from twin.report.runs import EAST, WEST, run


@pytest.fixture(autouse=True)
def in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "en")


def test_a_line_is_the_mean_of_the_seeds_with_its_interval() -> None:
    (line,) = lines([run(seed=n, yen=100.0 + n, hit_rate=nan) for n in range(3)])
    assert (line.policy, line.runs) == ("moyai", 3)
    mean, half = line.figures["yen"]
    assert mean == 101
    assert half == pytest.approx(4.303 / 3**0.5)
    assert np.isnan(line.figures["hit_rate"][0])


def test_a_figure_of_one_run_has_no_interval_and_none_is_a_dash() -> None:
    assert cell((92.4, 0.62), 1, 1) == "92.4 ±0.6"
    assert cell((92_400, inf), 1, 0) == "92,400"
    assert cell((nan, nan), 1, 0) == "–"


def test_durations_are_shown_in_a_unit_that_suits() -> None:
    def heading(seconds: float) -> str:
        return table(lines([run(mean_completion_s=seconds)]), OUTCOME)[0][2]

    assert [heading(s) for s in (12, 3_000, 90_000)] == ["COMPLETION s", "COMPLETION min", "COMPLETION h"]


def test_small_figures_keep_digits_that_say_something() -> None:
    _, rows = table(lines([run("a", yen=0.0123), run("b", yen=0.4)]), COST)
    assert [row[1] for row in rows] == ["0.012", "0.400"]


def test_estimates_are_a_column_only_where_they_differ() -> None:
    one, _ = table(lines([run()]), COST)
    both, rows = table(lines([run(), run(estimates="noisy")]), COST)
    assert len(both) == len(one) + 1
    assert [row[1] for row in rows] == ["exact", "±50 %"]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_every_column_has_a_heading(lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", lang)
    for columns in TABLES:
        headings, rows = table(lines([run()]), columns)
        assert all(headings)
        assert len(headings) == len(set(headings)) == len(rows[0])


def test_json_holds_no_nan() -> None:
    said = json.loads(json.dumps(document(lines([run(hit_rate=nan)])), allow_nan=False))
    assert said[0]["figures"]["hit_rate"] == {"mean": None, "half": None}
    assert said[0]["figures"]["yen"] == {"mean": 1.0, "half": None}


def test_runs_come_out_in_the_order_in_which_they_were_asked_for() -> None:
    mixed = [run("fifo", 1), run("moyai", 0), run("fifo", 0), run("moyai", 1)]
    assert [(r.task.policy, r.task.seed) for r in in_order(mixed, ["fifo", "moyai"])] == [
        ("fifo", 0),
        ("fifo", 1),
        ("moyai", 0),
        ("moyai", 1),
    ]


def test_a_course_is_the_mean_over_the_runs() -> None:
    (course,) = courses([run(hours=10), run(seed=1, hours=5)])
    assert course.hours[0] == pytest.approx(0, abs=0.1)
    assert np.all(np.diff(course.hours) > 0)
    assert course.queued[-1] == 9 / 2  # of the other, nothing waits any more
    assert course.busy_pct[EAST][-1] == 90 / 2
    assert np.all(np.isnan(course.busy_pct[WEST]))  # it has nothing to be busy with
    assert np.nanmax(course.power_kw) == pytest.approx((9.5 + 4.5) / 2)  # it stays
    assert np.isnan(course.hit_pct[0])
    assert 0 < course.hit_pct[-1] < 100


def test_twelve_policies_look_different_and_ours_stands_out() -> None:
    names = [OURS, *(f"peer-{n}" for n in range(11))]
    styles = styles_of(names)
    assert len({str(styles[name]) for name in names}) == 12
    assert styles[OURS]["linewidth"] > max(styles[name]["linewidth"] for name in names[1:])


def test_results_in_a_directory(tmp_path: Path) -> None:
    out, runs = tmp_path / "out", []
    with results(out, "small", ("jobs: made up",), ["moyai", "fifo"], runs) as add:
        for seed in (0, 1):
            for policy in ("moyai", "fifo"):
                add(run(policy, seed))
        assert not out.exists()
    assert sorted(p.name for p in out.iterdir()) == [
        "figures.json", "jobs.parquet", "picture.png", "picture.svg", "runs.parquet", "samples.parquet", "table.txt",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == [out]
    assert not runs[0].jobs
    found = pq.read_table(out / "runs.parquet").to_pylist()
    assert [(r["policy"], r["seed"], r["yen"]) for r in found][:2] == [("moyai", 0, 1.0), ("fifo", 0, 1.0)]
    jobs = pq.read_table(out / "jobs.parquet")
    assert jobs.num_rows == 8
    assert jobs.to_pylist()[1]["site"] is None
    assert pq.read_schema(out / "jobs.parquet").metadata[b"notes"] == b"jobs: made up"
    assert pq.read_table(out / "samples.parquet").num_rows == 4 * 10 * 2
    assert (out / "picture.png").read_bytes()[16:20] == (1280).to_bytes(4, "big")
    assert "jobs: made up" in (out / "table.txt").read_text("utf-8")
    assert "jobs: made up" in (out / "picture.svg").read_text("utf-8") or "<svg" in (out / "picture.svg").read_text(
        "utf-8"
    )
    assert len(json.loads((out / "figures.json").read_text("utf-8"))["results"]) == 2


def test_a_picture_for_each_kind_of_estimates(tmp_path: Path) -> None:
    with results(tmp_path / "out", "small", (), ["moyai"], []) as add:
        add(run())
        add(run(estimates="absent"))
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"picture-exact.png", "picture-absent.png"}


def test_long_runs_are_held_thin() -> None:
    samples = run(hours=1_700).samples
    held = thinned(samples)
    assert 400 < len(held) <= HELD + 1
    assert held[-1] == samples[-1]
    assert [s.at_us for s in held] == sorted({s.at_us for s in held})
    assert thinned(samples[:20]) == samples[:20]
    assert thinned(()) == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_left_half_way_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def half_way() -> None:
        with results(tmp_path / "out", "small", (), ["moyai"], []) as add:
            add(run())
            raise error

    with pytest.raises(error):
        half_way()
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("x", "utf-8")
    for out, said in (
        (full, "holds something already"),
        (full / "mine", "is a file"),
        (tmp_path / "no" / "where", "there is no such directory"),
    ):
        with pytest.raises(Taken, match=said), folder(out):
            raise AssertionError("nothing may be run")
    assert (full / "mine").read_text("utf-8") == "x"


def test_an_empty_directory_is_taken_and_one_that_comes_meanwhile_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with folder(out) as place:
        (place / "a").write_text("1", "utf-8")
    assert (out / "a").read_text("utf-8") == "1"

    def raced() -> None:
        with folder(tmp_path / "new") as place:
            (place / "a").write_text("1", "utf-8")
            (tmp_path / "new").mkdir()
            (tmp_path / "new" / "theirs").write_text("2", "utf-8")

    with pytest.raises(Taken, match="meanwhile"):
        raced()
    assert os.listdir(tmp_path / "new") == ["theirs"]


def test_a_missing_library_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Missing, match=r"pip install 'moyai\[twin\]'"):
        arrow()
