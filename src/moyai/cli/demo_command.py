"""`moyai demo`: the main job of Moyai in a minute, on this machine, with real processes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.cli.common import AsJson, command_app
from moyai.cli.errors import guarded
from moyai.locale import t

if TYPE_CHECKING:
    from collections.abc import Callable

    from moyai.cli.demo.facts import Seen
    from moyai.model.views import SiteStatus

app = command_app()
READY_WITHIN_S = 20.0


@app.command(help=t("cli.demo.help"))
@guarded
def demo(
    keep: Annotated[bool, typer.Option("--keep", help=t("cli.demo.keep"))] = False,
    as_json: AsJson = False,
) -> None:
    """Run the story; exit code 0 only if every fact of it is true."""
    from moyai.cli.demo.facts import facts
    from moyai.cli.demo.screen import Screen
    from moyai.cli.demo.story import begin, live
    from moyai.cli.output import print_json
    from moyai.client import Client

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended, as by Ctrl-C
    home = Path(tempfile.mkdtemp(prefix="moyai-demo-"))
    screen = Screen(err=as_json)
    screen.title("demo.title", dir=str(home))
    server = _serve(home)
    held: tuple[tuple[str, bool], ...] = ()
    try:
        _await_server(home, server)
        with Client(home / "home", start=False) as client:
            _await_sites(client.sites)
            screen.line("", t("demo.ready"))
            story = begin(client, home, screen)
            seen = live(client, story)
            _stop(server)
            seen = _with_log(home, seen)
        held = facts(seen)
        screen.title("demo.why-count")
        screen.why(seen.count_why)
        screen.title("demo.closing")
        screen.closing(seen)
        screen.line("", t("demo.modelled"))
        screen.title("demo.facts", events=seen.events)
        screen.facts(held)
        if as_json:
            print_json({"facts": dict(held), "jobs": [seen.train, seen.count, *seen.shorts], "events": seen.events})
    finally:
        _stop(server)
        _leave(home, keep or not held or not all(true for _, true in held))
    if not all(true for _, true in held):
        raise typer.Exit(1)


def _serve(home: Path) -> "subprocess.Popen[bytes]":
    fleet = Path(__file__).parent / "demo" / "fleet.yaml"
    with (home / "demo-server.txt").open("wb") as said:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "moyai.server", "--dir", str(home / "home"), "--fleet", str(fleet)),
                *("--local", "--idle-exit", "30"),  # it leaves by itself if the demo is killed
            ],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def _await_sites(sites: "Callable[[], tuple[SiteStatus, ...]]") -> None:
    from moyai.client import MoyaiError
    from moyai.model.views import SiteState

    deadline = time.monotonic() + READY_WITHIN_S
    while not all(s.state is SiteState.JOINED for s in sites()) or not sites():
        if time.monotonic() > deadline:
            raise MoyaiError("timeout", f"the demo's sites did not join within {READY_WITHIN_S:.0f} s")
        time.sleep(0.02)


def _await_server(home: Path, server: "subprocess.Popen[bytes]") -> None:
    from moyai.client import MoyaiError
    from moyai.client.local import address, answers

    deadline = time.monotonic() + READY_WITHIN_S
    while (found := address(home / "home")) is None or not answers(found):
        if server.poll() is not None or time.monotonic() > deadline:
            said = (home / "demo-server.txt").read_text("utf-8", "replace").strip()
            raise MoyaiError("start-failed", said.splitlines()[-1] if said else "the server did not start")
        time.sleep(0.02)


def _with_log(home: Path, seen: "Seen") -> "Seen":
    from moyai.store.export import verify_directory

    checked = verify_directory(home / "home")
    return replace(seen, log_problem=checked.problem, events=checked.events)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()


def _leave(home: Path, keep: bool) -> None:
    """End what still runs at the demo's sites, and delete its directory unless it is wanted."""
    from moyai.cli.demo.catastrophe import processes_of
    from moyai.cli.output import note

    sites = home / "home" / "sites"
    for site in [p.name for p in sites.iterdir()] if sites.is_dir() else []:
        for pid in processes_of(home / "home", site):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    if keep:
        note(t("demo.kept", dir=str(home)))
    else:
        shutil.rmtree(home, ignore_errors=True)
