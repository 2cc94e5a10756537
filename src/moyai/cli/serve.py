"""`moyai up` and `moyai down`: the server of a directory, in the foreground, and its end."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from moyai.cli.common import AsJson, Home, command_app
from moyai.cli.errors import guarded
from moyai.locale import t

up = command_app()
down = command_app()
DOWN_WITHIN_S = 10.0


@up.command(help=t("cli.up.help"), epilog=t("cli.up.epilog"))
@guarded
def up_command(
    *,
    fleet: Annotated[
        Path | None, typer.Option("--fleet", metavar="FILE", help=t("cli.up.fleet"), show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", min=1, max=65_535, help=t("cli.up.port"), show_default=False)
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="HOST:PORT", help=t("cli.up.metrics"), show_default=False)
    ] = None,
    agents: Annotated[
        str | None, typer.Option("--agents", metavar="HOST:PORT", help=t("cli.up.agents"), show_default=False)
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", metavar="DIR", help=t("cli.up.ca"), show_default=False)] = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="URL", help=t("cli.up.store"), show_default=False)
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="DIR", help=t("cli.up.keys"), show_default=False)
    ] = None,
    home: Home = None,
) -> None:
    """Become the server of the directory: Ctrl-C ends it; jobs at the sites go on."""
    from moyai.client.local import directory

    place = directory(home)
    options = [*(["--fleet", str(fleet)] if fleet else []), *(["--port", str(port)] if port else [])]
    options += ["--metrics", metrics] if metrics else []
    options += [*(["--agents", agents] if agents else []), *(["--ca", str(ca)] if ca else [])]
    options += ["--keys", str(keys)] if keys else []
    if store:
        os.environ["MOYAI_STORE"] = store  # not as an argument: everybody may read those, and it may hold a password
    os.execv(sys.executable, [sys.executable, "-m", "moyai.server", "--dir", str(place), *options])  # noqa: S606 – it is meant


@down.command(help=t("cli.down.help"))
@guarded
def down_command(home: Home = None, as_json: AsJson = False) -> None:
    """End the server of the directory. What runs at the sites is not stopped by that."""
    from moyai.cli.output import print_json
    from moyai.client.local import address, answers, directory

    place = directory(home)
    found = address(place)
    stopped = found is not None and answers(found)
    if found is not None and stopped:
        os.kill(found.pid, signal.SIGTERM)
        _await_end(place, found.pid)
    if as_json:
        print_json({"dir": str(place), "stopped": stopped})
    else:
        typer.echo(t("cli.down.done" if stopped else "cli.down.none", dir=str(place)))


def _await_end(place: Path, pid: int) -> None:
    from moyai.client.errors import MoyaiError
    from moyai.client.local import address

    deadline = time.monotonic() + DOWN_WITHIN_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if address(place) is None:  # its last act, should its parent not have taken note of its end
            return
        time.sleep(0.02)
    raise MoyaiError(
        "timeout", f"the server (process {pid}) did not end within {DOWN_WITHIN_S:.0f} s", where=str(place)
    )
