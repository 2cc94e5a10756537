"""`moyai logs`: what a job printed."""

import sys
from typing import Annotated

import typer

from moyai.cli.common import AsJson, Home, command_app, connect, find
from moyai.cli.errors import guarded
from moyai.cli.output import note, print_json
from moyai.locale import t

app = command_app()


@app.command(help=t("cli.logs.help"), epilog=t("cli.logs.epilog"))
@guarded
def logs(
    job: Annotated[str, typer.Argument(metavar="JOB", help=t("cli.argument.job"))],
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help=t("cli.logs.follow"))] = False,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", min=1, help=t("cli.logs.attempt"), show_default=False)
    ] = None,
    rank: Annotated[int, typer.Option("--rank", metavar="N", min=0, help=t("cli.logs.rank"))] = 0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Print a job's output: of its newest attempt, or of all from the one named on where it is followed."""
    if follow and as_json:
        raise typer.BadParameter(t("cli.logs.follow-json"))
    with connect(home, new=False) as client:
        handle = find(client, job)
        if follow:
            from moyai.cli.run import follow as follow_job

            try:
                follow_job(handle, attempt, rank)
            except KeyboardInterrupt:
                note("")
            return
        if as_json:
            text = handle.output(attempt, rank)
            print_json({"job": handle.id, "attempt": attempt, "rank": rank, "output": text})
            return
        for piece in handle.pieces(attempt, rank):
            if piece.left_out:
                note(t("cli.logs.left-out", size=piece.left_out))
            sys.stdout.buffer.write(piece.data)
        sys.stdout.buffer.flush()
