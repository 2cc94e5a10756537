"""`moyai doctor`: looks at an installation end to end, says what is wrong and how to mend it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.cli.common import AsJson, Home, command_app
from moyai.cli.errors import guarded
from moyai.locale import t

if TYPE_CHECKING:
    from moyai.agent.doctor.check import Check

app = command_app()
WRONG = 1
"""The exit code where something is bad."""


@app.command(help=t("cli.doctor.help"), epilog=t("cli.doctor.epilog"))
@guarded
def doctor(
    site: Annotated[
        Path | None, typer.Option("--site", metavar="FILE", help=t("cli.doctor.site"), show_default=False)
    ] = None,
    control: Annotated[
        str, typer.Option("--control", metavar="URL", help=t("cli.doctor.control"), show_default=False)
    ] = "",
    store: Annotated[str, typer.Option("--store", metavar="URL", help=t("cli.doctor.store"), show_default=False)] = "",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Look at everything; leave with 1 where something is bad."""
    from moyai.agent.doctor.check import Verdict
    from moyai.agent.doctor.host import check_machine
    from moyai.cli.output import print_json

    checks = check_machine()
    if site is not None:
        checks += _site(site)
    if control:
        checks += _control(control, home)
    if (site is None and not control) or home is not None or store:
        checks += _directory(home, store)
    wrong = sum(check.verdict is Verdict.BAD for check in checks)
    if as_json:
        print_json({"fine": not wrong, "checks": checks})
    else:
        _show(checks)
        doubtful = sum(check.verdict is Verdict.WARN for check in checks)
        typer.echo(t("cli.doctor.done", checks=len(checks), wrong=wrong, doubtful=doubtful))
    if wrong:
        raise typer.Exit(WRONG)


def _directory(home: Path | None, store: str) -> "list[Check]":
    """The checks of an agent's directory, or of a control plane's."""
    from moyai.agent.doctor.agent import check_agent
    from moyai.agent.doctor.host import check_host
    from moyai.agent.doctor.place import check_directory, check_disk
    from moyai.client.local import directory
    from moyai.server.doctor import check_control

    place = directory(home)
    if (place / "agent.json").exists():
        return [*check_host(), check_directory(place), check_disk(place), *check_agent(place)]
    return [*check_host(), *check_control(place, store)]


def _control(address: str, home: Path | None) -> "list[Check]":
    """The checks of a control plane elsewhere. Raises MoyaiError."""
    from moyai.agent.doctor.control import check_remote
    from moyai.client.errors import MoyaiError
    from moyai.client.local import directory

    try:
        return check_remote(address, directory(home) if home is not None else None)
    except ValueError as error:
        raise MoyaiError("bad-option", str(error)) from None


def _site(file: Path) -> "list[Check]":
    """The checks of the engine that a site's file tells of. Raises BadSpec."""
    from moyai.agent.doctor.check import ok
    from moyai.agent.doctor.engines import check_engine
    from moyai.client.errors import BadSpec
    from moyai.model.specs.fleet import SiteFile
    from moyai.model.specs.problems import SpecError
    from moyai.model.specs.resolve import resolve_engine

    try:
        site = SiteFile.from_file(file)
    except SpecError as error:
        raise BadSpec(error.problems, str(error)) from None
    found = ok("site-file", "site-file-fine", path=str(file), site=site.name, engine=site.engine)
    return [found, *check_engine(site.engine, resolve_engine(site).settings)]


def _show(checks: "list[Check]") -> None:
    from moyai.agent.doctor.check import Verdict
    from moyai.cli.output import table

    styles = {Verdict.OK: "", Verdict.WARN: "yellow", Verdict.BAD: "bold red"}
    rows: list[tuple[str, str, str]] = []
    looks: list[str] = []
    for check in checks:
        rows.append((t(f"cli.doctor.{check.verdict.value}"), check.name, check.what))
        looks.append(styles[check.verdict])
        if check.mend:
            rows.append(("", "", f"→ {check.mend}"))
            looks.append("")
    table((), rows, fold=(2,), styles=looks)
