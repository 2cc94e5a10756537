"""What several commands share: their common options, and the way to a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.locale import t

if TYPE_CHECKING:
    from collections.abc import Callable

    from moyai.client import Client, JobHandle
    from moyai.client.workflow import WorkflowHandle

Home = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help=t("cli.option.dir"), show_default=False),
]
"""`--dir`: the directory of the control plane."""

AsJson = Annotated[bool, typer.Option("--json", help=t("cli.option.json"))]
"""`--json`: one JSON document on stdout instead of words."""


def command_app() -> typer.Typer:
    """A Typer app for one command, in the manner of all."""
    return typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)


def group_app(help_text: str, needs_command: bool = True) -> typer.Typer:
    """A Typer app for a command with commands below it."""
    return typer.Typer(
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=help_text or None,
        no_args_is_help=needs_command,
    )


def connect(home: Path | None, new: bool = True) -> "Client":
    """A client of the directory's server. Starts one, and says so, where there is none.

    `new` False: only where something ran in that directory before, so that a look at nothing leaves nothing behind.
    """
    from moyai.cli.output import note
    from moyai.client import Client
    from moyai.client.local import directory

    place = directory(home)
    start = new or (place / "log.db").exists()
    return Client(place, start=start, say=lambda what, where: note(t(f"cli.{what}", dir=str(where))))


def quantity(parse: "Callable[[str], int]", text: str, option: str) -> int:
    """A quantity of an option, in the unit that `parse` gives. Raises MoyaiError."""
    from moyai.client.errors import MoyaiError
    from moyai.model.specs.problems import BadValue, quoted

    try:
        return parse(text)
    except BadValue as error:
        raise MoyaiError("bad-option", f"{option}: {quoted(text)} {error.wrong}", error.hint) from None


def find(client: "Client", text: str) -> "JobHandle":
    """The job that is meant: by its id, the beginning of one, or a name (the newest of that name).

    Raises MoyaiError where there is none, or several begin so.
    """
    from moyai.client.errors import MoyaiError

    try:
        client.job(text).view()
        return client.job(text)
    except MoyaiError as error:
        if error.status != 404:
            raise
        unknown = error
    known = client.jobs(limit=1_000).jobs
    named = [job.job for job in known if job.name == text]
    begin = [job.job for job in known if job.job.startswith(text)]
    if named or len(begin) == 1:
        return client.job((named or begin)[0])
    if begin:
        raise MoyaiError("ambiguous", t("cli.ambiguous", text=text, count=len(begin)), "  ".join(begin[:8]))
    raise unknown


def find_any(client: "Client", text: str) -> "JobHandle | WorkflowHandle":
    """The job that is meant, as `find` has it, or the workflow of that id. Raises as `find` does."""
    from moyai.client.errors import MoyaiError

    try:
        return find(client, text)
    except MoyaiError as error:
        if error.status != 404:
            raise
        unknown = error
    try:
        client.workflow(text).view()
    except MoyaiError as error:
        raise (unknown if error.status == 404 else error) from None
    return client.workflow(text)
