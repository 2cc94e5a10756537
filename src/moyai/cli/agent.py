"""`moyai agent`: the agent of a site, here; and the steps that let a site of another machine join."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.cli.common import AsJson, Home, connect, group_app, quantity
from moyai.cli.errors import guarded
from moyai.locale import t

if TYPE_CHECKING:
    from moyai.model.site import SiteProfile
    from moyai.model.specs.fleet import SiteFile

app = group_app("", needs_command=False)
SiteOption = Annotated[
    Path | None, typer.Option("--site", metavar="FILE", help=t("cli.agent.site"), show_default=False)
]
ControlOption = Annotated[
    list[str] | None, typer.Option("--control", metavar="URL", help=t("cli.agent.control"), show_default=False)
]
Place = Annotated[Path | None, typer.Option("--dir", metavar="DIR", help=t("cli.agent.dir"), show_default=False)]


@app.callback(invoke_without_command=True, help=t("cli.agent.help"), epilog=t("cli.agent.epilog"))
@guarded
def agent(
    ctx: typer.Context,
    site: SiteOption = None,
    control: ControlOption = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="HOST:PORT", help=t("cli.up.metrics"), show_default=False)
    ] = None,
    place: Place = None,
) -> None:
    """Run the agent here until SIGTERM, unless a command below is named."""
    if ctx.invoked_subcommand is not None:
        return
    from moyai.agent.engines.registry import ENGINE_FILE
    from moyai.agent.main import PROFILE
    from moyai.model.codec import encode
    from moyai.model.specs.resolve import resolve_engine, resolve_site
    from moyai.trust.io.private import write_private

    spec = _read(site)
    addresses = _addresses(control)
    root = _directory(place, spec.name)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(root / ENGINE_FILE, encode(resolve_engine(spec)))
        write_private(root / PROFILE, encode(resolve_site(spec)))
    except OSError as error:
        raise _unusable(root, error) from None
    options = [word for address in addresses for word in ("--control", address)]
    options += ["--metrics", metrics] if metrics else []
    os.execv(sys.executable, [sys.executable, "-m", "moyai.agent", "--dir", str(root), *options])  # noqa: S606 – it is meant


@app.command(help=t("cli.agent.join.help"), epilog=t("cli.agent.join.epilog"))
@guarded
def join(
    token: Annotated[str, typer.Option("--token", metavar="TOKEN", help=t("cli.agent.join.token"))],
    site: SiteOption = None,
    control: ControlOption = None,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Join the control plane by a token."""
    from moyai.agent.join import NotJoined
    from moyai.agent.join import join as join_site
    from moyai.cli.output import print_json
    from moyai.client.errors import MoyaiError
    from moyai.model.specs.resolve import resolve_site

    spec = _read(site)
    addresses = _addresses(control)
    profile: SiteProfile = resolve_site(spec)
    root = _directory(place, spec.name)
    secret = sys.stdin.readline().strip() if token == "-" else token  # noqa: S105 – stands for stdin
    try:
        about = join_site(addresses, secret, profile, root)
    except NotJoined as error:
        raise MoyaiError(error.code, error.message, error.hint, status=error.status) from None
    except OSError as error:
        raise _unusable(root, error) from None
    if as_json:
        print_json({"site": about.site, "dir": str(root), "ends_at": about.ends_at})
        return
    typer.echo(t("cli.agent.join.done", site=about.site, dir=str(root), end=about.ends_at))
    options = " ".join(f"--control {address}" for address in addresses)
    typer.echo(t("cli.agent.join.next", line=f"moyai agent --site {site} {options} --dir {root}"))


@app.command(help=t("cli.agent.token.help"), epilog=t("cli.agent.token.epilog"))
@guarded
def token(
    site: Annotated[str, typer.Argument(metavar="SITE", help=t("cli.agent.token.site"))],
    lifetime: Annotated[str, typer.Option("--lifetime", metavar="SPAN", help=t("cli.agent.token.lifetime"))] = "1h",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a token by which one agent may join as a site."""
    from moyai.cli.output import note, print_json
    from moyai.model.specs.quantity import parse_span

    lifetime_us = quantity(parse_span, lifetime, "--lifetime")
    with connect(home, new=False) as client:
        made = client.new_token(site, lifetime_us)
    if as_json:
        print_json(made)
        return
    typer.echo(made.token)
    note(t("cli.agent.token.done", site=site, end=made.ends_at))


def _read(site: Path | None) -> "SiteFile":
    """The site's file. Raises BadSpec, MoyaiError."""
    from moyai.client.errors import BadSpec, MoyaiError
    from moyai.model.specs.fleet import SiteFile
    from moyai.model.specs.problems import SpecError

    if site is None:
        raise MoyaiError("bad-option", t("cli.agent.no-site"), t("cli.agent.no-site-hint"))
    try:
        return SiteFile.from_file(site)
    except SpecError as error:
        raise BadSpec(error.problems, str(error)) from None


def _addresses(control: list[str] | None) -> list[str]:
    from moyai.agent.lines import check_address
    from moyai.client.errors import MoyaiError

    if not control:
        raise MoyaiError("bad-option", t("cli.agent.no-control"), t("cli.agent.no-control-hint"))
    for address in control:
        try:
            check_address(address)
        except ValueError as error:
            raise MoyaiError("bad-option", str(error)) from None
    return control


def _directory(place: Path | None, site: str) -> Path:
    from moyai.agent.join import default_directory

    return Path(os.path.abspath(place.expanduser() if place is not None else default_directory(site)))


def _unusable(root: Path, error: OSError) -> Exception:
    from moyai.client.errors import MoyaiError

    said = error.strerror or str(error)
    return MoyaiError("bad-directory", f"{error.filename or root}: can't be used ({said})", t("cli.agent.dir-hint"))
