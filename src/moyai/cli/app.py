"""The Typer app. Only Typer is imported here; the module of a command is loaded when that command is called."""

import importlib
from functools import cache

import typer
from typer._click.core import Command, Context
from typer.core import TyperCommand, TyperGroup

from moyai.locale import t

COMMANDS: dict[str, str] = {
    "run": "moyai.cli.run",
    "plan": "moyai.cli.plan",
    "ps": "moyai.cli.jobs:ps",
    "logs": "moyai.cli.logs",
    "why": "moyai.cli.jobs:why",
    "cancel": "moyai.cli.jobs:cancel",
    "sites": "moyai.cli.sites",
    "data": "moyai.cli.data",
    "up": "moyai.cli.serve:up",
    "down": "moyai.cli.serve:down",
    "agent": "moyai.cli.agent",
    "ca": "moyai.cli.ca",
    "log": "moyai.cli.log",
    "store": "moyai.cli.store",
    "twin": "moyai.cli.twin",
    "doctor": "moyai.cli.doctor",
    "schema": "moyai.cli.schema",
    "demo": "moyai.cli.demo_command",
}
"""Each command, in the order of `--help`, and where its Typer app is: a module, and the app's name if not `app`."""


class LazyGroup(TyperGroup):
    """Holds a stand-in with one line of help for each command; the one that is called is loaded then."""

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """The command that `args` name, its module imported."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and found else found, rest


@cache
def load(name: str) -> Command:
    """The command `name` of the table, its module imported."""
    module, _, attribute = COMMANDS[name].partition(":")
    app: typer.Typer = getattr(importlib.import_module(module), attribute or "app")
    loaded = typer.main.get_command(app)
    loaded.name = name
    return loaded


app = typer.Typer(
    cls=LazyGroup, rich_markup_mode=None, no_args_is_help=True, help=t("cli.help"), epilog=t("cli.epilog")
)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", is_eager=True, help=t("cli.version"))) -> None:
    """Options before the command."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("moyai"))
        raise typer.Exit


def command() -> TyperGroup:
    """The whole command line as one command."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup), "the app has commands below it"
    for name in COMMANDS:
        group.add_command(TyperCommand(name=name, help=t(f"cli.{name}.help")))
    return group
