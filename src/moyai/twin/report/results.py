"""A directory of results: runs, jobs and samples as Parquet, the figures as JSON, a table, and a picture."""

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from moyai.model.specs.scenario_jobs import ESTIMATES
from moyai.twin.compare.task import Run
from moyai.twin.replay.outcome import Sample
from moyai.twin.report.folder import folder
from moyai.twin.report.parquet import Tables
from moyai.twin.report.summary import TABLES, document, lines, table

Add = Callable[[Run], None]
HELD = 500
"""Samples of a run that are held for the picture, which draws half as many points."""


@contextmanager
def results(
    out: Path | None, scenario: str, notes: Sequence[str], policies: Sequence[str], runs: list[Run]
) -> Generator[Add]:
    """What takes each run as it comes: into `runs`, and into a directory where `out` names one.

    `policies` is their order in tables. The directory appears at the end, whole, or not at all. Raises Taken or
    Missing before anything is run.
    """
    if out is None:
        yield lambda run: runs.append(replace(run, jobs=(), samples=()))
        return
    from moyai.twin.report import picture

    picture.check()
    with folder(out) as place:
        with Tables(place, scenario, notes) as tables:

            def add(run: Run) -> None:
                tables.add(run)
                # What is in the files needn't be held: hundreds of runs may follow.
                runs.append(replace(run, jobs=(), samples=thinned(run.samples)))

            yield add
        _finish(place, scenario, notes, in_order(runs, policies))


def _finish(place: Path, scenario: str, notes: Sequence[str], ordered: Sequence[Run]) -> None:
    from moyai.twin.report.course import courses
    from moyai.twin.report.picture import draw

    found = lines(ordered)
    said = {"scenario": scenario, "notes": list(notes), "results": document(found)}
    (place / "figures.json").write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n", "utf-8")
    texts = ["\n".join(_plain(*table(found, columns))) for columns in TABLES]
    (place / "table.txt").write_text("\n\n".join([*texts, "\n".join(notes)]) + "\n", "utf-8")
    kinds = list(dict.fromkeys(run.task.estimates for run in ordered))
    seeds = len({run.task.seed for run in ordered})
    for kind in kinds:
        mine = [run for run in ordered if run.task.estimates == kind]
        stem = "picture" if len(kinds) == 1 else f"picture-{kind}"
        title = f"{scenario}: mean of {seeds} seeds, estimates {kind}" if seeds > 1 else f"{scenario}, estimates {kind}"
        draw(place, stem, title, courses(mine), notes)


def in_order(runs: Iterable[Run], policies: Sequence[str]) -> list[Run]:
    """The runs by kind of estimates, then as `policies` go, then by seed, whichever came first."""
    return sorted(
        runs, key=lambda run: (ESTIMATES.index(run.task.estimates), policies.index(run.task.policy), run.task.seed)
    )


def thinned(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """At most about HELD of the samples, evenly, the last one among them."""
    step = -(-len(samples) // HELD)
    return samples if step <= 1 else (*samples[:-1:step], samples[-1])


def _plain(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    from rich.cells import cell_len  # a Japanese character takes two columns

    cells = [list(headings), *map(list, rows)]
    widths = [max(cell_len(row[i]) for row in cells) for i in range(len(headings))]
    return [
        "  ".join(
            text + " " * (w - cell_len(text)) if i == 0 else " " * (w - cell_len(text)) + text
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
