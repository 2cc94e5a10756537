"""`moyai twin replay|compare`: the same control plane on virtual time, under made-up or real work."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.cli.common import AsJson, group_app
from moyai.cli.errors import guarded
from moyai.locale import t

if TYPE_CHECKING:
    from moyai.client import MoyaiError
    from moyai.model.specs.scenario import ScenarioSpec
    from moyai.twin.compare.task import Run, Source, Task
    from moyai.twin.traces.read import Format

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a replay is the work of one core: more threads would only spin

app = group_app(t("cli.twin.help"))

TraceFile = Annotated[Path | None, typer.Option("--trace", metavar="FILE", help=t("cli.twin.trace"))]
FormatName = Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=t("cli.twin.format"))]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help=t("cli.twin.out"))]


@app.command(help=t("cli.twin.replay.help"), epilog=t("cli.twin.replay.epilog"))
@guarded
def replay(  # noqa: PLR0917 - each is an option
    scenario: Annotated[str | None, typer.Argument(metavar="SCENARIO", help=t("cli.twin.scenario"))] = None,
    policy: Annotated[str, typer.Option(metavar="POLICY", help=t("cli.twin.replay.policy"))] = "moyai",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help=t("cli.twin.replay.seed"))] = 0,
    estimates: Annotated[str | None, typer.Option(metavar="KIND", help=t("cli.twin.replay.estimates"))] = None,
    trace: TraceFile = None,
    format: FormatName = None,
    log: Annotated[Path | None, typer.Option("--log", metavar="LOG", help=t("cli.twin.replay.log"))] = None,
    add_site: Annotated[
        list[Path] | None, typer.Option("--add-site", metavar="FILE", help=t("cli.twin.replay.add-site"))
    ] = None,
    without_site: Annotated[
        list[str] | None, typer.Option("--without-site", metavar="SITE", help=t("cli.twin.replay.without-site"))
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="SITE.KEY=VALUE", help=t("cli.twin.replay.set"))
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Replay a scenario, or a real log under a what-if."""
    from moyai.client import MoyaiError

    changed = [name for name, given in (("--add-site", add_site), ("--without-site", without_site), ("--set", sets))
               if given]  # fmt: skip
    if (scenario is None) == (log is None):
        raise MoyaiError("bad-input", t("cli.twin.replay.which"), t("cli.twin.replay.which-hint"))
    if log is None and changed:
        raise MoyaiError("bad-input", t("cli.twin.replay.log-only", options=", ".join(changed)))
    if log is not None:
        from moyai.cli.twin_whatif import whatif

        if trace or format or estimates:
            raise MoyaiError("bad-input", t("cli.twin.replay.not-with-log"))
        whatif(log, policy, seed, (add_site or [], without_site or [], sets or []), out, as_json=as_json)
        return
    assert scenario is not None
    with trouble():
        from moyai.twin.compare.task import Source, Task, opened

        source = Source(scenario, trace, _format(format))
        read, _ = opened(source)
        kinds = [_kind(estimates)] if estimates else [read.spec.jobs.estimates]
        _check_policies([policy])
    _many(source, [Task(policy, kind, seed) for kind in kinds], 1, out, as_json=as_json)


@app.command(help=t("cli.twin.compare.help"), epilog=t("cli.twin.compare.epilog"))
@guarded
def compare(  # noqa: PLR0917 - each is an option
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help=t("cli.twin.scenario"))],
    policy: Annotated[str | None, typer.Option(metavar="A,B,C", help=t("cli.twin.compare.policy"))] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", min=1, help=t("cli.twin.compare.seeds"))] = None,
    estimates: Annotated[str | None, typer.Option(metavar="KINDS", help=t("cli.twin.compare.estimates"))] = None,
    trace: TraceFile = None,
    format: FormatName = None,
    jobs: Annotated[int | None, typer.Option("--jobs", metavar="N", min=1, help=t("cli.twin.compare.jobs"))] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Replay a scenario by several policies under several seeds; show means and intervals."""
    with trouble():
        from moyai.twin.compare.task import Source, Task, opened

        source = Source(scenario, trace, _format(format))
        read, _ = opened(source)
        spec = read.spec
        policies = _words(policy, "--policy") if policy else _written(spec)
        _check_policies(policies)
        kinds = [_kind(kind) for kind in _words(estimates, "--estimates")] if estimates else [spec.jobs.estimates]
        # Policies of one seed stand side by side: a worker makes their setup once.
        tasks = [Task(p, kind, seed) for kind in kinds for seed in range(seeds or spec.seeds) for p in policies]
    _many(source, tasks, jobs or os.cpu_count() or 1, out, as_json=as_json)


def _many(source: "Source", tasks: "list[Task]", at_once: int, out: Path | None, *, as_json: bool) -> None:
    """Run the tasks, keep and show what comes of them. Everything that can be refused is refused first."""
    from moyai.twin.compare.task import make_setup, run
    from moyai.twin.compare.workers import each
    from moyai.twin.report.results import in_order, results
    from moyai.twin.scenarios.notes import for_all

    runs: list[Run] = []
    interruptible()
    with trouble():
        first = make_setup(source, tasks[0])
        policies = list(dict.fromkeys(task.policy for task in tasks))
        notes = for_all(first.notes, {task.estimates for task in tasks})
        with results(out, first.name, notes, policies, runs) as add, bar(str(first.name)) as tell:
            for _, done in each(_Work(source, run), tasks, at_once, tell):
                add(done)
    show(first.name, in_order(runs, policies), notes, out, as_json=as_json)


class _Work:
    """Runs a task of one source. An object of a class of a module, so that it can be sent to another process."""

    def __init__(self, source: "Source", run: "Callable[..., Run]") -> None:
        self.source, self.run = source, run

    def __call__(self, task: "Task", tell: Callable[[float], None]) -> "Run":
        return self.run(self.source, task, tell)


def show(name: str, runs: "list[Run]", notes: tuple[str, ...], out: Path | None, *, as_json: bool) -> None:
    """Print the tables, the notes that belong to them, and where the files are."""
    from moyai.cli.output import note, print_json, table
    from moyai.twin.report.summary import TABLES, document, lines
    from moyai.twin.report.summary import table as words

    found = lines(runs)
    if as_json:
        print_json({"scenario": name, "notes": notes, "results": document(found), "out": str(out) if out else None})
        return
    styles = ["bold" if line.policy == "moyai" and len(found) > 1 else "" for line in found]
    for columns in TABLES:
        headings, rows = words(found, columns)
        table(headings, rows, right=range(len(headings) - len(columns), len(headings)), styles=styles)
        typer.echo()
    seeds = len({run.task.seed for run in runs})
    if seeds > 1:
        typer.echo(t("twin.legend-seeds", seeds=seeds))
    for said in notes:
        typer.echo(f"  {said}")
    if out:
        note(t("cli.twin.written", dir=str(out)))


def interruptible() -> None:
    """A wish from outside that this process ends is like Ctrl-C: what is half-written goes, and so do the workers."""
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def bar(what: str) -> Generator[Callable[[float], None]]:
    """A progress bar on stderr, where that is a terminal; what is yielded hears the share that is done."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from moyai.cli.output import console

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
               TextColumn("·"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console(err=True), transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)


@contextmanager
def trouble() -> Generator[None]:
    """Makes what can be wrong with a scenario, a trace, a policy or a directory an error for a person."""
    from moyai.client.errors import BadSpec, MoyaiError
    from moyai.model.specs.problems import SpecError
    from moyai.twin.compare.workers import TaskFailed
    from moyai.twin.policies import UnknownPolicy
    from moyai.twin.report.folder import Taken
    from moyai.twin.report.parquet import Missing
    from moyai.twin.traces.trace import TraceError

    try:
        yield
    except SpecError as error:
        raise BadSpec(error.problems, str(error)) from None
    except TraceError as error:
        raise MoyaiError("bad-trace", str(error)) from None
    except UnknownPolicy as error:
        raise MoyaiError("unknown-policy", str(error), where="--policy") from None
    except Taken as error:
        raise MoyaiError("not-a-directory", str(error), where="--out") from None
    except Missing as error:
        raise MoyaiError("not-installed", str(error), where="--out") from None
    except TaskFailed as error:
        raise MoyaiError("task-failed", str(error)) from None


def _words(text: str, option: str) -> list[str]:
    """The words of a list with commas, each once."""
    from moyai.client import MoyaiError

    found = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise MoyaiError("bad-input", t("cli.twin.empty-list"), where=option)
    return found


def _written(spec: "ScenarioSpec") -> list[str]:
    """The policies that a scenario compares. Raises SpecError, with its line, for one that doesn't exist."""
    from moyai.model.specs.problems import SpecError, quoted
    from moyai.twin.policies import NAMES

    problems = tuple(
        spec.source.problem(("policies", i), "is no policy", f"choose from {', '.join(NAMES)}", quoted(name))
        for i, name in enumerate(spec.policies)
        if name not in NAMES
    )
    if problems:
        raise SpecError(problems)
    return list(spec.policies)


def _check_policies(names: list[str]) -> None:
    from moyai.twin.policies import NAMES, UnknownPolicy

    unknown = next((name for name in names if name not in NAMES), None)
    if unknown is not None:
        raise UnknownPolicy(unknown)


def _kind(text: str) -> str:
    from moyai.model.specs.scenario_jobs import ESTIMATES

    return _one_of(text, ESTIMATES, "--estimates")


def _format(text: str | None) -> "Format | None":
    from moyai.twin.traces.read import Format

    return Format(_one_of(text, [format.value for format in Format], "--format")) if text else None


def _one_of(text: str, choices: "list[str] | tuple[str, ...]", option: str) -> str:
    if text not in choices:
        raise _unknown(text, choices, option)
    return text


def _unknown(text: str, choices: "list[str] | tuple[str, ...]", option: str) -> "MoyaiError":
    from moyai.client import MoyaiError

    return MoyaiError("bad-input", t("cli.twin.unknown", text=text, choices=", ".join(choices)), where=option)
