"""A Ray cluster as its agent will meet it: the dashboard of its head, its version, its token, and nodes that live."""

from pathlib import Path

import msgspec

from moyai.agent.doctor import web
from moyai.agent.doctor.check import Check, bad, ok, warn
from moyai.agent.doctor.clock import check_wall_clock
from moyai.model.engine import RaySettings

TRIED = "2"
"""The major version of Ray that the engine is tested with."""


class _Version(msgspec.Struct):
    ray_version: str


def check_ray(settings: RaySettings, now_s: float | None = None) -> list[Check]:
    """Everything between the agent and the head. `now_s`: our wall clock in seconds since 1970; None for now."""
    headers: dict[str, str] = {}
    if settings.token:
        try:
            headers["Authorization"] = f"Bearer {Path(settings.token).read_text('utf-8').strip()}"
        except OSError as error:
            problem = error.strerror or str(error)
            return [bad("ray-token", "secret-unreadable", path=str(error.filename), problem=problem)]
    try:
        found = web.get(f"{settings.address}/api/version", headers)
    except web.NoAnswer as error:
        return [bad("ray", "ray-away", address=settings.address, problem=str(error))]
    if found.status in (401, 403):
        return [bad("ray-token", "ray-refused" if settings.token else "ray-anonymous", address=settings.address)]
    try:
        version = msgspec.json.decode(found.body, type=_Version).ray_version
    except msgspec.DecodeError:
        return [bad("ray", "ray-other", address=settings.address, status=found.status, said=found.said)]
    checks = [ok("ray", "ray-answers", address=settings.address)]
    if version.partition(".")[0] == TRIED:
        checks.append(ok("ray-version", "ray-version-known", version=version))
    else:
        checks.append(warn("ray-version", "ray-version-other", version=version, tried=TRIED))
    if found.date_s is not None:
        checks.append(check_wall_clock(found.date_s, "Ray", now_s))
    checks.append(_jobs(settings.address, headers))
    return checks


def _jobs(address: str, headers: dict[str, str]) -> Check:
    """Whether the jobs API takes our token: the version is shown to anybody in some set-ups."""
    try:
        found = web.get(f"{address}/api/jobs/", headers)
    except web.NoAnswer as error:
        return bad("ray-token", "ray-away", address=address, problem=str(error))
    if found.status in (401, 403):
        return bad("ray-token", "ray-refused" if headers else "ray-anonymous", address=address)
    if found.status != 200:
        return bad("ray-token", "ray-jobs-fail", status=found.status, said=found.said)
    return ok("ray-token", "ray-accepted")
