"""`moyai data`: name datasets where they lie, and list them."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.cli.common import AsJson, Home, connect, group_app
from moyai.cli.errors import guarded
from moyai.cli.output import note, print_json
from moyai.locale import t

if TYPE_CHECKING:
    from moyai.client import Client
    from moyai.model.views import DatasetView

app = group_app(t("cli.data.help"))
_WAIT_S = 600.0
_SAY_AFTER_S = 1.5


@app.command(help=t("cli.data.add.help"), epilog=t("cli.data.add.epilog"))
@guarded
def add(
    name: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help=t("cli.data.add.name"))],
    path: Annotated[Path, typer.Argument(metavar="PATH", help=t("cli.data.add.path"))],
    *,
    site: Annotated[
        str | None, typer.Option("--site", metavar="SITE", help=t("cli.data.add.site"), show_default=False)
    ] = None,
    residency: Annotated[
        list[str] | None,
        typer.Option("--residency", metavar="CODE", help=t("cli.data.add.residency"), show_default=False),
    ] = None,
    purpose: Annotated[
        list[str] | None, typer.Option("--purpose", metavar="WORD", help=t("cli.data.add.purpose"), show_default=False)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help=t("cli.data.add.wait"))] = True,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Name a directory at a site as a dataset. Leaves with 2 where the site can't take it."""
    from moyai.client.errors import MoyaiError
    from moyai.model.views import DatasetState

    plain, version = _name(name)
    with connect(home) as client:
        codes = [code.strip() for given in residency or () for code in given.split(",")]
        found = client.add_dataset(
            plain,
            path.expanduser().absolute(),
            site=site or _only_site(client),
            version=version,
            residency=codes,
            purposes=tuple(purpose or ()),
        )
        if wait:
            found = _adopted(client, found)
    if found.state is DatasetState.REJECTED:
        raise MoyaiError("rejected", found.problem, t("cli.data.add.rejected-hint"), f"{found.dataset}@{found.version}")
    if as_json:
        print_json(found)
    else:
        key = "cli.data.add.done" if found.state is DatasetState.READY else "cli.data.add.adopting"
        typer.echo(t(key, name=f"{found.dataset}@{found.version}", site=found.registered_site, size=found.size_bytes))


@app.command(name="ls", help=t("cli.data.ls.help"))
@guarded
def list_datasets(home: Home = None, as_json: AsJson = False) -> None:
    """List the datasets, every version."""
    with connect(home) as client:
        found = client.datasets()
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo(t("cli.data.ls.none"))
        return
    from moyai.cli.rows import datasets_table

    datasets_table(found)


def _name(text: str) -> tuple[str, int]:
    from moyai.client.errors import MoyaiError
    from moyai.model.specs.fields import parse_dataset
    from moyai.model.specs.problems import BadValue, quoted

    try:
        return parse_dataset(text)
    except BadValue as error:
        raise MoyaiError("bad-input", f"{quoted(text)} {error.wrong}", error.hint, "NAME") from None


def _only_site(client: "Client") -> str:
    from moyai.client.errors import MoyaiError

    names = [site.site for site in client.sites()]
    if len(names) == 1:
        return names[0]
    raise MoyaiError(
        "bad-input", t("cli.data.add.which-site"), t("cli.data.add.sites", sites=", ".join(names)), "--site"
    )


def _adopted(client: "Client", added: "DatasetView") -> "DatasetView":
    """The dataset once its site has hashed it, or refused it."""
    from moyai.client.errors import MoyaiError
    from moyai.model.views import DatasetState

    begun, said = time.monotonic(), False
    found = added
    while found.state is DatasetState.ADOPTING:
        waited = time.monotonic() - begun
        if waited > _WAIT_S:
            raise MoyaiError("timeout", t("cli.data.add.slow", name=f"{added.dataset}@{added.version}"))
        if waited > _SAY_AFTER_S and not said:
            said = True
            note(t("cli.data.add.waiting", site=added.registered_site))
        time.sleep(0.05 if waited < 1 else 0.5)
        found = next((d for d in client.datasets() if (d.dataset, d.version) == (added.dataset, added.version)), found)
    return found
