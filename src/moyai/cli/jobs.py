"""`moyai ps`, `why` and `cancel`."""

import time
from typing import Annotated

import typer

from moyai.cli.common import AsJson, Home, command_app, connect, find, find_any
from moyai.cli.errors import guarded
from moyai.cli.output import note, print_json
from moyai.locale import t
from moyai.model.lifecycle import JobState

ps = command_app()
why = command_app()
cancel = command_app()


@ps.command(help=t("cli.ps.help"), epilog=t("cli.ps.epilog"))
@guarded
def ps_command(
    state: Annotated[
        list[JobState] | None, typer.Option("--state", "-s", help=t("cli.ps.state"), show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help=t("cli.ps.limit"))] = 50,
    before: Annotated[str, typer.Option("--before", metavar="WHERE", help=t("cli.ps.before"), show_default=False)] = "",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    with connect(home, new=False) as client:
        page = client.jobs(tuple(state or ()), limit, before)
    if as_json:
        print_json(page)
        return
    if not page.jobs:
        typer.echo(t("cli.ps.none"))
        return
    from moyai.cli.rows import jobs_table

    jobs_table(page.jobs, time.time_ns() // 1_000)
    if page.before:
        note(t("cli.ps.more", before=page.before))


@why.command(help=t("cli.why.help"))
@guarded
def why_command(
    job: Annotated[str, typer.Argument(metavar="JOB", help=t("cli.argument.job"))],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say why a job is where it is, or waits, or ended as it did."""
    with connect(home, new=False) as client:
        handle = find(client, job)
        view, said = handle.view(), handle.why()
    if as_json:
        print_json(said)
        return
    from moyai.cli.rows import attempts_table, considered_table, job_state, starts, words

    now = time.time_ns() // 1_000
    typer.echo(t("cli.why.headline", job=view.job, state=job_state(view), why=words(said.reason)))
    if said.start and said.site and view.state is JobState.PENDING:
        key = "cli.why.start-after" if said.awaits else "cli.why.start"
        typer.echo(t(key, site=said.site, start=starts(said.start, now), job=said.awaits))
    if said.expect_us:
        typer.echo(t("cli.why.expected", run=said.expect_us, source=t(f"cli.why.source.{said.expect_source}")))
    if said.considered:
        typer.echo("")
        considered_table(said.considered, view.attempts[-1].issued_at if view.attempts else now)
    if view.attempts:
        typer.echo("")
        attempts_table(view)
        typer.echo(t("cli.modelled"))


@cancel.command(help=t("cli.cancel.help"))
@guarded
def cancel_command(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB…", help=t("cli.argument.job"))],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Ask for the end of jobs. One that has ended already stays as it is."""
    from moyai.model.workflow_views import WorkflowView

    with connect(home, new=False) as client:
        handles = [find_any(client, job) for job in jobs]  # all are known before the first is cancelled
        done = [handle.cancel() for handle in handles]
    if as_json:
        print_json(done)
        return
    for view in done:
        ended = view.state.value in (JobState.SUCCEEDED, JobState.FAILED)
        key = "cli.cancel.ended" if ended else "cli.cancel.done"
        name = view.workflow if isinstance(view, WorkflowView) else view.job
        typer.echo(t(key, job=name, state=t(f"job.{view.state}")))
