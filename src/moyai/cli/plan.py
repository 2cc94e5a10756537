"""`moyai plan`: what would become of a job, without submitting it."""

from typing import Annotated

import typer

from moyai.cli.common import AsJson, Home, command_app, connect
from moyai.cli.errors import guarded
from moyai.cli.output import print_json
from moyai.cli.wanted import JobCommand, Wanted, takes_job
from moyai.locale import t

app = command_app()


@app.command(cls=JobCommand, help=t("cli.plan.help"), epilog=t("cli.plan.epilog"))
@takes_job
@guarded
def plan(
    wanted: Wanted,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=t("cli.plan.dry-run"))] = True,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show the sites considered, and where and when the job would start. Leaves with 2 where none can ever run it."""
    from moyai.cli.rows import words
    from moyai.cli.run import outlook, refuse_impossible, show_plan

    job = wanted.job()
    with connect(home) as client:
        view = outlook(client, job)
    if as_json:
        print_json(view)
    else:
        show_plan(view)
        typer.echo(words(view.reason))
    refuse_impossible(view)
