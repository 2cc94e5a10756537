"""`moyai store migrate|check`: where a log is kept, looked at and moved without a server."""

from typing import Annotated

import typer

from moyai.cli.common import AsJson, group_app
from moyai.cli.errors import guarded
from moyai.cli.trouble import log_trouble
from moyai.locale import t

app = group_app(t("cli.store.help"))
_TOLD_EVERY = 50_000


@app.command(help=t("cli.store.migrate.help"), epilog=t("cli.store.migrate.epilog"))
@guarded
def migrate(
    source: Annotated[str, typer.Argument(metavar="FROM", help=t("cli.store.migrate.source"))],
    target: Annotated[str, typer.Argument(metavar="TO", help=t("cli.store.migrate.target"))],
    as_json: AsJson = False,
) -> None:
    """Copy a log with all that goes with it, and read the copy whole."""
    from moyai.cli.output import note, print_json
    from moyai.store.home import place_of
    from moyai.store.migrate import migrate as move

    said = 0

    def told(done: int, of: int) -> None:
        """How far it came, now and then."""
        nonlocal said
        if not as_json and done - said >= _TOLD_EVERY:
            said = done
            note(t("cli.store.migrate.told", done=done, of=of))

    with log_trouble():
        found = move(place_of(source), place_of(target), told)
    if as_json:
        print_json(
            {
                "events": found.events,
                "head": found.head.hash,
                "epoch": found.epoch,
                "texts": found.texts,
                "checkpoints": found.checkpoints,
                "blobs": found.blobs,
            }
        )
        return
    typer.echo(
        t("cli.store.migrate.done", events=found.events, texts=found.texts, blobs=found.blobs, head=found.head.hash)
    )
    typer.echo(t("cli.store.migrate.next"))


@app.command(help=t("cli.store.check.help"))
@guarded
def check(
    place: Annotated[str, typer.Argument(metavar="STORE", help=t("cli.store.check.place"))],
    as_json: AsJson = False,
) -> None:
    """Say what holds a log, how far it reaches and who leads. The events themselves are checked by `log verify`."""
    from moyai.cli.output import note, print_json
    from moyai.store.home import place_of
    from moyai.store.running import standing

    with log_trouble():
        found = standing(place_of(place))
    if as_json:
        print_json(found)
        return
    typer.echo(t("cli.store.check.what", place=found.place, database=found.database, revision=found.revision))
    typer.echo(t("cli.store.check.head", seq=found.head.seq, head=found.head.hash, epoch=found.epoch))
    typer.echo(t("cli.store.check.led", leader=found.leader) if found.leader else t("cli.store.check.free"))
    typer.echo(t("cli.store.check.answer", ms=f"{found.answer_us / 1000:.1f}"))
    for warning in found.warnings:
        note(f"{t('cli.store.check.warning')}: {warning}")
