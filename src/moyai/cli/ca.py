"""`moyai ca`: the certificate authority of a control plane, and what it issued to sites of other machines."""

from pathlib import Path
from typing import Annotated

import typer

from moyai.cli.common import AsJson, Home, connect, group_app, quantity
from moyai.cli.errors import guarded
from moyai.locale import t

app = group_app(t("cli.ca.help"))


@app.command(help=t("cli.ca.init.help"), epilog=t("cli.ca.init.epilog"))
@guarded
def init(
    lifetime: Annotated[str, typer.Option("--lifetime", metavar="SPAN", help=t("cli.ca.init.lifetime"))] = "9d",
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="DIR", help=t("cli.ca.init.ca"), show_default=False)
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a CA."""
    from moyai.agent.clocks import wall_us
    from moyai.cli.output import print_json
    from moyai.client.errors import MoyaiError
    from moyai.client.local import directory
    from moyai.model.specs.quantity import parse_span
    from moyai.model.units import Instant
    from moyai.trust.io.cafiles import AuthorityTrouble, make_authority

    place = ca.expanduser().absolute() if ca is not None else directory(home) / "ca"
    life_us = quantity(parse_span, lifetime, "--lifetime")
    try:
        made = make_authority(place, Instant(wall_us()), life_us)
    except AuthorityTrouble as trouble:
        raise MoyaiError("authority", trouble.message, trouble.hint) from None
    if as_json:
        print_json({"ca": str(place), "fingerprint": made.root.fingerprint, "certificate_life_us": made.life_us})
        return
    typer.echo(t("cli.ca.init.done", dir=str(place), fingerprint=made.root.fingerprint))
    typer.echo(t("cli.ca.init.next"))


@app.command("list", help=t("cli.ca.list.help"))
@guarded
def list_command(home: Home = None, as_json: AsJson = False) -> None:
    """List certificates and open tokens."""
    from moyai.cli.output import note, print_json, table

    with connect(home, new=False) as client:
        found = client.certificates()
    if as_json:
        print_json(found)
        return
    rows = [(c.site, t(f"certificate.{c.state}"), t("word.moment", at=c.ends_at), c.serial) for c in found.certificates]
    rows += [(o.site, t("certificate.token"), t("word.moment", at=o.ends_at), f"{o.token}…") for o in found.tokens]
    if rows:
        table((t("head.site"), t("head.state"), t("head.end"), t("head.serial")), rows)
    else:
        note(t("cli.ca.list.none"))
    note(t("cli.ca.list.root", fingerprint=found.fingerprint, end=found.ends_at))


@app.command(help=t("cli.ca.revoke.help"), epilog=t("cli.ca.revoke.epilog"))
@guarded
def revoke(
    what: Annotated[str, typer.Argument(metavar="SITE|SERIAL", help=t("cli.ca.revoke.what"))],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Take back the certificates of a site, or one of them."""
    from moyai.cli.output import print_json

    with connect(home, new=False) as client:
        found = client.revoke(what)
    if as_json:
        print_json(found)
        return
    typer.echo(t("cli.ca.revoke.done", certificates=len(found.certificates), tokens=len(found.tokens)))
