"""`moyai run`: say what would happen, ask, submit, follow; Ctrl-C leaves the job running."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.cli.common import AsJson, Home, command_app, connect
from moyai.cli.errors import DECLINED, INTERRUPTED, guarded
from moyai.cli.output import note, print_json
from moyai.cli.wanted import JobCommand, Wanted, takes_job
from moyai.locale import t

if TYPE_CHECKING:
    from moyai.client import Archive, Client, Job, JobHandle
    from moyai.model.views import JobView, WhyView

app = command_app()
_SAY_AFTER_S = 2.0
_JOIN_WITHIN_S = 3.0


@app.command(cls=JobCommand, help=t("cli.run.help"), epilog=t("cli.run.epilog"))
@takes_job
@guarded
def run(
    wanted: Wanted,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help=t("cli.run.yes"))] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help=t("cli.run.detach"))] = False,
    project: Annotated[
        str | None, typer.Option("--project", metavar="NAME", help=t("cli.run.project"), show_default=False)
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Run a job and leave with its exit code."""
    import uuid

    from moyai.cli.run_workflow import is_workflow, run_workflow

    if wanted.file is not None and not wanted.words and is_workflow(wanted.alone()):
        run_workflow(wanted.file, detach=detach, project=project or "", home=home, as_json=as_json)
        return
    job = wanted.job()
    _hint(wanted, job)
    archive = _packed(home, wanted, job)
    with connect(home) as client:
        view = outlook(client, job, project or "", archive)
        if not as_json:
            show_plan(view, err=True)  # stdout is the job's
        refuse_impossible(view)
        if not (yes or as_json) and _on_terminal() and not _proceed():
            note(t("cli.run.declined"))
            raise typer.Exit(DECLINED)
        with _interrupted_while_submitting():
            handle = client.run(job, key=uuid.uuid4().hex, project=project or "", workdir=archive)
        if detach:
            _detached(handle, as_json)
            return
        try:
            ended = handle.wait() if as_json else follow(handle, since=1)
        except KeyboardInterrupt:
            _detached(handle, as_json)
            return
    from moyai.cli.rows import exit_code

    if as_json:
        print_json(ended)
    raise typer.Exit(exit_code(ended))


def outlook(client: "Client", job: "Job", project: str = "", archive: "Archive | None" = None) -> "WhyView":
    """What would become of a job. A server that has just started is given a moment for its sites to join."""
    from moyai.model.reasons import Code

    view = client.plan(job, project=project, workdir=archive)
    if any(row.feasible for row in view.considered) or client.health().uptime_us > _JOIN_WITHIN_S * 1_000_000:
        return view
    deadline = time.monotonic() + _JOIN_WITHIN_S
    while time.monotonic() < deadline and any(row.reason.code is Code.SITE_NOT_JOINED for row in view.considered):
        time.sleep(0.05)
        view = client.plan(job, project=project, workdir=archive)
    return view


def show_plan(view: "WhyView", err: bool = False) -> None:
    """The table of the sites considered, or why there is none."""
    from moyai.cli.rows import considered_table, words

    if view.considered:
        considered_table(view.considered, time.time_ns() // 1_000, err)
    else:
        note(words(view.reason))


def refuse_impossible(view: "WhyView") -> None:
    """Raises MoyaiError "impossible" where no site can ever run it; says so where none can now."""
    from moyai.cli.rows import impossible, words
    from moyai.client.errors import MoyaiError

    if impossible(view):
        raise MoyaiError("impossible", t("cli.run.impossible"), t("cli.run.impossible-hint"))
    if view.considered and not any(row.feasible for row in view.considered):
        note(t("cli.run.waits", why=words(view.reason)))


def follow(handle: "JobHandle", since: int | None, rank: int = 0) -> "JobView":
    """Print a job's output as it comes, and a line at each turn, to its end. Returns its last view."""
    from moyai.cli.rows import summary, turn_words, words
    from moyai.client.handle import Piece, Turn
    from moyai.model.lifecycle import JobState

    screen = sys.stdout.buffer
    at_line_start, said, spoke_at, last = True, "", time.monotonic(), None
    for item in handle.follow(rank, since):
        if isinstance(item, Piece):
            if item.left_out:
                note(t("cli.logs.left-out", size=item.left_out))
            screen.write(item.data)
            screen.flush()
            if item.data:
                at_line_start = item.data.endswith(b"\n")
            continue
        last = item.job
        text = ""
        if isinstance(item, Turn):
            text = turn_words(item.job, item.attempt) if item.attempt else summary(item.job)
        elif time.monotonic() - spoke_at > _SAY_AFTER_S:
            now = handle.why()
            if now.state is JobState.PENDING and now.reason.code.value != said:  # it may have ended since
                text, said = t("cli.run.waits", why=words(now.reason)), now.reason.code.value
        if text:
            spoke_at = time.monotonic()
            if not at_line_start and sys.stdout.isatty():  # what goes to a file or a pipe stays the job's own
                screen.write(b"\n")
                screen.flush()
                at_line_start = True
            note(f"moyai: {text}")
    assert last is not None, "a job's output is followed to its end, and the end is a turn"
    return last


def _packed(home: Path | None, wanted: Wanted, job: "Job") -> "Archive | None":
    from moyai.client.local import directory
    from moyai.locale import figures

    archive = job.pack(exclude=(directory(home),))
    if archive is not None:
        size = figures.size(archive.size_bytes)
        note(t("cli.run.sends", dir=str((job.workdir or Path()).resolve()), files=archive.files, size=size))
        if archive.left_out:
            note(t("cli.run.links-left-out", count=archive.left_out))
    elif wanted.file is None and wanted.send is None:
        note(t("cli.run.sends-nothing", dir=str(Path.cwd())))
    return archive


def _hint(wanted: Wanted, job: "Job") -> None:
    """A workload file that names a file beside it without sending it: the job would not find it."""
    import shlex

    if wanted.file is None or job.spec.workdir is not None:
        return
    try:
        words = shlex.split(job.spec.run, comments=True)
    except ValueError:
        return
    beside = [w for w in words if not w.startswith(("/", "-")) and (wanted.file.parent / w).is_file()]
    if beside:
        note(t("cli.run.workdir-hint", name=beside[0]))


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _proceed() -> bool:
    try:
        return typer.confirm(t("cli.run.proceed"), default=True, err=True)
    except typer.Abort:
        note("")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _interrupted_while_submitting() -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note(t("cli.run.interrupted"))
        raise typer.Exit(INTERRUPTED) from None


def _detached(handle: "JobHandle", as_json: bool) -> None:
    if as_json:
        print_json({"job": handle.id, "detached": True})
    else:
        note(t("cli.run.detached", job=handle.id))
