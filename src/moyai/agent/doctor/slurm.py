"""A Slurm cluster as its agent will meet it: slurmrestd, its version and whether it takes a token, or the commands."""

import os
import re
import subprocess
import time
from pathlib import Path

import msgspec

from moyai.agent.doctor import web
from moyai.agent.doctor.check import Check, bad, ok
from moyai.agent.doctor.clock import check_wall_clock
from moyai.agent.engines.slurm.shapes import KNOWN
from moyai.agent.engines.slurm.tokens import mint
from moyai.model.engine import SlurmSettings

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
TOKEN_LIFE_S = 60
COMMAND_S = 10.0
_VERSION = re.compile(rb"slurm\\?/(v0\.0\.\d+)\\?/")


class _Release(msgspec.Struct):
    release: str = ""


class _Meta(msgspec.Struct):
    slurm: _Release = msgspec.field(name="Slurm", default_factory=_Release)


class _Ping(msgspec.Struct):
    hostname: str = ""
    ping: str = ""


class _Pings(msgspec.Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta)
    pings: tuple[_Ping, ...] = ()


def check_slurm(settings: SlurmSettings, now_s: float | None = None) -> list[Check]:
    """Everything between the agent and the cluster. `now_s`: the wall clock by which tokens are made; None for now."""
    if not settings.rest:
        return _commands(settings)
    try:
        token = _token(settings, time.time() if now_s is None else now_s)
    except OSError as error:
        problem = error.strerror or str(error)
        return [bad("slurm-token", "secret-unreadable", path=str(error.filename), problem=problem)]
    headers = {"X-SLURM-USER-NAME": settings.user or _user(), "X-SLURM-USER-TOKEN": token} if token else {}
    try:
        found = web.get(f"{settings.rest}/openapi/v3", headers)
    except web.NoAnswer as error:
        return [bad("slurm", "slurm-away", address=settings.rest, problem=str(error))]
    versions = sorted({v.decode() for v in _VERSION.findall(found.body)})
    if found.status == 401:
        return [bad("slurm-token", "slurm-anonymous", address=settings.rest)]
    if found.status != 200 or not versions:
        return [bad("slurm", "slurm-other", address=settings.rest, status=found.status, said=found.said)]
    checks = [ok("slurm", "slurm-answers", address=settings.rest)]
    known = [version for version in versions if version in KNOWN]
    if known:
        checks.append(ok("slurm-version", "slurm-version-known", version=known[-1]))
    else:
        spoken, tried = ", ".join(versions), ", ".join(sorted(KNOWN))
        checks.append(bad("slurm-version", "slurm-version-other", versions=spoken, tried=tried))
    if found.date_s is not None:
        checks.append(check_wall_clock(found.date_s, "slurmrestd", now_s))
    version = (known or versions)[-1]
    checks.append(_ping(f"{settings.rest}/slurm/{version}/ping", headers))
    return checks


def _ping(url: str, headers: dict[str, str]) -> Check:
    try:
        found = web.get(url, headers)
    except web.NoAnswer as error:
        return bad("slurm-token", "slurm-away", address=url, problem=str(error))
    try:
        pings = msgspec.json.decode(found.body, type=_Pings)
    except msgspec.DecodeError:
        return bad("slurm-token", "slurm-other", address=url, status=found.status, said=found.said)
    if found.status != 200:
        # This release says 500 both for a token that it can't use and for a slurmctld that it can't reach.
        return bad("slurm-token", "slurm-refused", user=headers["X-SLURM-USER-NAME"], status=found.status)
    if not any(one.ping == "UP" for one in pings.pings):
        return bad("slurm-token", "slurmctld-down", hosts=", ".join(one.hostname for one in pings.pings))
    return ok("slurm-token", "slurm-accepted", user=headers["X-SLURM-USER-NAME"], release=pings.meta.slurm.release)


def _token(settings: SlurmSettings, now_s: float) -> str:
    if settings.token:
        return Path(settings.token).read_text("utf-8").strip().removeprefix("SLURM_JWT=")
    if not settings.jwt_key:
        return ""
    return mint(Path(settings.jwt_key).read_bytes(), settings.user or _user(), int(now_s), TOKEN_LIFE_S)


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _commands(settings: SlurmSettings) -> list[Check]:
    import shutil

    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        return [bad("slurm", "slurm-commands-none", missing=", ".join(missing))]
    environment = {**os.environ, **({"SLURM_CONF": settings.config} if settings.config else {})}
    try:
        done = subprocess.run(
            ["scontrol", "ping"], capture_output=True, text=True, timeout=COMMAND_S, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [bad("slurm", "slurm-commands-fail", problem=str(error))]
    said = " ".join((done.stdout or done.stderr).split())[:300]
    if done.returncode or " UP" not in f" {said}":
        return [bad("slurm", "slurm-commands-fail", problem=said or f"exit code {done.returncode}")]
    return [ok("slurm", "slurm-commands-work", said=said)]
