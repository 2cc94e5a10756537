"""`moyai log verify|export`: the log of a directory or a store, read beside its server or without one."""

from pathlib import Path
from typing import Annotated

import typer

from moyai.cli.common import AsJson, Home, group_app
from moyai.cli.errors import BAD_INPUT, guarded
from moyai.cli.trouble import Store, chosen_place, log_trouble
from moyai.locale import t

app = group_app(t("cli.log.help"))


@app.command(help=t("cli.log.verify.help"))
@guarded
def verify(home: Home = None, store: Store = None, as_json: AsJson = False) -> None:
    """Read the whole log: every event's bytes, hash and place in the chain. Leaves with 2 where one does not hold."""
    from moyai.cli.output import note, print_json
    from moyai.store.export import verify_place

    with log_trouble():
        found = verify_place(chosen_place(store, home))
    intact = found.bad_seq is None
    if as_json:
        print_json(
            {
                "intact": intact,
                "path": found.place,
                "epoch": found.epoch,
                "events": found.events,
                "good_events": found.good.events,
                "head": found.good.head.hash,
                "bad_event": found.bad_seq,
                "problem": found.problem,
                "hint": found.hint,
            }
        )
    elif intact:
        typer.echo(t("cli.log.verify.intact", events=found.events, head=found.good.head.hash, path=found.place))
    else:
        note(t("cli.log.verify.broken", seq=found.bad_seq or 0, problem=found.problem, path=found.place))
        note(f"  {found.hint}")
    if not intact:
        raise typer.Exit(BAD_INPUT)


@app.command(help=t("cli.log.export.help"))
@guarded
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help=t("cli.log.export.out"))],
    until: Annotated[
        int | None, typer.Option(metavar="EVENT", min=0, help=t("cli.log.export.until"), show_default=False)
    ] = None,
    home: Home = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Write the log's events to a new file, one a line, byte for byte."""
    from moyai.cli.output import print_json
    from moyai.store.export import export_place

    with log_trouble():
        found = export_place(chosen_place(store, home), out, until)
    if as_json:
        print_json({"out": str(out), "events": found.events, "head": found.head.hash, "size_bytes": found.size_bytes})
    else:
        typer.echo(t("cli.log.export.done", events=found.events, out=str(out), size=found.size_bytes))
