"""`moyai sites`: the sites, and an operator's word about one of them."""

from typing import Annotated

import typer

from moyai.cli.common import AsJson, Home, connect, group_app
from moyai.cli.errors import DECLINED, guarded
from moyai.cli.output import note, print_json
from moyai.locale import t
from moyai.model.events import Signal

_SMALLEST = {Signal.PRICE: 1_000_000, Signal.CARBON: 1_000, Signal.POWER_CAP: 1_000}
"""How many of the log's units make one of those that people give: yen and g per kWh, kW."""

app = group_app("", needs_command=False)
SiteName = Annotated[str, typer.Argument(metavar="SITE", help=t("cli.argument.site"))]


@app.callback(invoke_without_command=True, help=t("cli.sites.help"))
@guarded
def sites(ctx: typer.Context, home: Home = None, as_json: AsJson = False) -> None:
    """List the sites, unless a command below is named."""
    if ctx.invoked_subcommand is not None:
        return
    with connect(home) as client:
        found = client.sites()
    if as_json:
        print_json(found)
        return
    from moyai.cli.rows import sites_table

    sites_table(found)
    for site in found:
        if site.problem:
            note(f"{site.site}: {site.problem}")
    if any(site.profile.synthetic for site in found):
        note(f"* {t('site.synthetic')}")


@app.command(help=t("cli.sites.drain.help"))
@guarded
def drain(site: SiteName, home: Home = None, as_json: AsJson = False) -> None:
    """Place nothing new at a site."""
    with connect(home) as client:
        found = client.drain(site)
    print_json(found) if as_json else typer.echo(t("cli.sites.drain.done", site=site))


@app.command(help=t("cli.sites.resume.help"))
@guarded
def resume(site: SiteName, home: Home = None, as_json: AsJson = False) -> None:
    """Lift a drain."""
    with connect(home) as client:
        found = client.resume(site)
    print_json(found) if as_json else typer.echo(t("cli.sites.resume.done", site=site))


@app.command(help=t("cli.sites.signal.help"))
@guarded
def signal(
    site: SiteName,
    name: Annotated[Signal, typer.Argument(metavar="SIGNAL", help=t("cli.sites.signal.name"))],
    value: Annotated[float, typer.Argument(metavar="VALUE", min=0.0, help=t("cli.sites.signal.value"))],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Tell an outside fact about a site that changed."""
    with connect(home) as client:
        found = client.change_signal(site, name, round(value * _SMALLEST[name]))
    print_json(found) if as_json else typer.echo(t("cli.sites.signal.done", site=site))


@app.command(help=t("cli.sites.dead.help"))
@guarded
def dead(
    site: SiteName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help=t("cli.run.yes"))] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Give your word that nothing runs at a site any more."""
    import sys

    if (
        not yes
        and sys.stdin.isatty()
        and not typer.confirm(t("cli.sites.dead.sure", site=site), default=False, err=True)
    ):
        note(t("cli.sites.dead.declined"))
        raise typer.Exit(DECLINED)
    with connect(home) as client:
        found = client.declare_dead(site)
    print_json(found) if as_json else typer.echo(t("cli.sites.dead.done", site=site))
