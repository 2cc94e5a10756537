"""Results as Parquet: a row for each replay, for each of its jobs, and for each site at each sample."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moyai.twin.compare.task import Run
from moyai.twin.replay.figures import Figures
from moyai.twin.replay.outcome import JobRow

RUNS, JOBS, SAMPLES = "runs.parquet", "jobs.parquet", "samples.parquet"
_TEXTS = {"job", "tenant", "site"}
_KEYS = ("policy", "estimates", "seed")


class Missing(Exception):
    """A library isn't installed; the text says how to get it."""


class Tables:
    """The three files, written run by run, so that memory holds one run at a time."""

    def __init__(self, place: Path, scenario: str, notes: Sequence[str]) -> None:
        """Writes into the directory `place`. Raises Missing where PyArrow isn't there."""
        pa, pq = arrow()
        about = {b"scenario": scenario.encode(), b"notes": "\n".join(notes).encode()}
        self._pa = pa
        self._runs: list[dict[str, Any]] = []  # few and small: one write at the end
        whole, text, real = pa.int64(), pa.string(), pa.float64()
        keys: list[Any] = [("policy", text), ("estimates", text), ("seed", whole)]
        job = [(f.name, text if f.name in _TEXTS else pa.bool_() if f.type is bool else whole) for f in fields(JobRow)]
        run = [(f.name, whole if f.type is int else real) for f in fields(Figures)]
        sample = [(n, whole) for n in ("at_us", "queued", "running", "missed", "met")]
        sample += [("site", text), *((n, whole) for n in ("busy", "total", "power_w"))]
        self._schemas = {
            RUNS: pa.schema([*keys, *run, ("head", text)], metadata=about),
            JOBS: pa.schema([*keys, *job], metadata=about),
            SAMPLES: pa.schema([*keys, *sample], metadata=about),
        }
        self._writers = {n: pq.ParquetWriter(place / n, s, compression="zstd") for n, s in self._schemas.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None and self._runs:
            self._write(RUNS, self._runs)
        for writer in self._writers.values():
            writer.close()

    def add(self, run: Run) -> None:
        """Write one run."""
        task = run.task
        key = {"policy": task.policy, "estimates": task.estimates, "seed": task.seed}
        self._runs.append(key | asdict(run.figures) | {"head": run.head})
        names = [f.name for f in fields(JobRow)]
        columns = {name: [getattr(row, name) for row in run.jobs] for name in names}
        self._columns(JOBS, {k: [v] * len(run.jobs) for k, v in key.items()} | columns)
        self._write(
            SAMPLES,
            [
                key
                | {"at_us": s.at_us, "queued": s.queued, "running": s.running, "missed": s.missed, "met": s.met}
                | {"site": at.site, "busy": at.busy, "total": at.total, "power_w": at.power_w}
                for s in run.samples
                for at in s.sites
            ],
        )

    def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        schema = self._schemas[name]
        self._columns(name, {column: [row[column] for row in rows] for column in schema.names})

    def _columns(self, name: str, columns: dict[str, list[Any]]) -> None:
        self._writers[name].write_table(self._pa.table(columns, schema=self._schemas[name]))


def arrow() -> tuple[Any, Any]:
    """PyArrow and its Parquet. Raises Missing."""
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise Missing("Parquet files need PyArrow; install it: pip install 'moyai[twin]'") from None
    return pa, pq
