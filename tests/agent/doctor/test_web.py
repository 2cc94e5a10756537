"""Slurm and Ray as their agents meet them: gone, other, guarded, garbled. The real ones are tried where they are."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from agent.doctor.answering import answering, closed_address
from moyai.agent.doctor.check import Check, Verdict
from moyai.agent.doctor.ray import check_ray
from moyai.agent.doctor.slurm import check_slurm
from moyai.model.engine import RaySettings, SlurmSettings

OPENAPI = b'{"paths": {"\\/slurm\\/v0.0.38\\/ping": {}, "\\/slurm\\/v0.0.38\\/jobs": {}}}'
UP = b'{"meta": {"Slurm": {"release": "22.05.8"}}, "pings": [{"hostname": "ctl", "ping": "UP"}]}'
DOWN = UP.replace(b"UP", b"DOWN")
REFUSED = b'{"meta": {"Slurm": {"release": "22.05.8"}}, "errors": [{"error_number": -1}]}'
GOOD = {"/openapi/v3": (200, OPENAPI), "/slurm/v0.0.38/ping": (200, UP)}
RAY = {"/api/version": (200, b'{"ray_version": "2.60.0"}'), "/api/jobs/": (200, b"[]")}


def verdicts(checks: Sequence[Check]) -> dict[str, str]:
    return {check.name: check.verdict.value for check in checks}


def only(checks: Sequence[Check]) -> str:
    """The words of the one thing that is bad, which says how it is mended."""
    wrong = [check for check in checks if check.verdict is Verdict.BAD]
    assert len(wrong) == 1, checks
    assert wrong[0].mend
    return wrong[0].what


def slurm(tmp_path: Path, address: str, token: str = "right") -> SlurmSettings:
    file = tmp_path / "token"
    file.write_text(token)
    return SlurmSettings(rest=address, token=str(file), user="moyai")


def ray(tmp_path: Path, address: str, token: str = "right") -> RaySettings:
    file = tmp_path / "token"
    file.write_text(token)
    return RaySettings(address, token=str(file) if token else "")


def test_slurm_as_it_should_be(tmp_path: Path) -> None:
    with answering(GOOD, "right") as address:
        found = check_slurm(slurm(tmp_path, address))
    assert verdicts(found) == {"slurm": "ok", "slurm-version": "ok", "slurm-token": "ok"}


def test_slurm_at_a_wrong_port(tmp_path: Path) -> None:
    address = closed_address()
    assert only(check_slurm(slurm(tmp_path, address))).startswith(f"slurmrestd does not answer at {address}: ")


def test_slurm_with_a_wrong_token(tmp_path: Path) -> None:
    with answering(GOOD, "right") as address:
        assert "wants a token" in only(check_slurm(slurm(tmp_path, address, "wrong")))
    with answering(GOOD | {"/slurm/v0.0.38/ping": (500, REFUSED)}) as address:
        found = check_slurm(slurm(tmp_path, address))
        assert "does not take the token of moyai" in only(found)
        assert verdicts(found)["slurm"] == "ok"


def test_a_slurmctld_that_is_down(tmp_path: Path) -> None:
    with answering(GOOD | {"/slurm/v0.0.38/ping": (200, DOWN)}) as address:
        assert only(check_slurm(slurm(tmp_path, address))) == "slurmrestd answers, slurmctld does not: ctl"


def test_something_else_in_slurms_place(tmp_path: Path) -> None:
    with answering({"/openapi/v3": (200, b"<html>Welcome to nginx")}) as address:
        assert "is no slurmrestd: 200, <html>Welcome to nginx" in only(check_slurm(slurm(tmp_path, address)))
    with answering(GOOD | {"/slurm/v0.0.38/ping": (200, b"garbage")}) as address:
        assert "is no slurmrestd" in only(check_slurm(slurm(tmp_path, address)))


def test_slurm_of_another_version(tmp_path: Path) -> None:
    other = {"/openapi/v3": (200, OPENAPI.replace(b".38", b".43")), "/slurm/v0.0.43/ping": (200, UP)}
    with answering(other) as address:
        found = check_slurm(slurm(tmp_path, address))
    assert verdicts(found) == {"slurm": "ok", "slurm-version": "bad", "slurm-token": "ok"}


def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert gone in only(check_slurm(SlurmSettings(rest=closed_address(), jwt_key=gone)))
    assert gone in only(check_ray(RaySettings(closed_address(), token=gone)))


def test_slurm_whose_clock_is_an_hour_off(tmp_path: Path) -> None:
    when = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    with answering(GOOD, date=format_datetime(when, usegmt=True)) as address:
        found = check_slurm(slurm(tmp_path, address), now_s=when.timestamp() + 3_600)
    assert only(found) == "this clock is 1 h ahead of that of slurmrestd"


def test_slurms_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "missing: sbatch" in only(check_slurm(SlurmSettings()))
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'Slurmctld(primary) at ctl is DOWN'\n")
        (tmp_path / name).chmod(0o755)
    assert "is DOWN" in only(check_slurm(SlurmSettings()))
    (tmp_path / "scontrol").write_text('#!/bin/sh\necho "Slurmctld(primary) at $SLURM_CONF is UP"\n')
    assert verdicts(check_slurm(SlurmSettings(config="/x/slurm.conf"))) == {"slurm": "ok"}


def test_ray_as_it_should_be(tmp_path: Path) -> None:
    with answering(RAY, "right") as address:
        found = check_ray(ray(tmp_path, address))
    assert verdicts(found) == {"ray": "ok", "ray-version": "ok", "ray-token": "ok"}


def test_ray_gone_guarded_other_and_broken(tmp_path: Path) -> None:
    assert "does not answer" in only(check_ray(ray(tmp_path, closed_address())))
    with answering(RAY, "right") as address:
        assert "does not take our token" in only(check_ray(ray(tmp_path, address, "wrong")))
        assert "names none" in only(check_ray(ray(tmp_path, address, "")))
    with answering({"/api/version": (200, b"hello")}) as address:
        assert "is no Ray dashboard: 200, hello" in only(check_ray(ray(tmp_path, address)))
    with answering(RAY | {"/api/jobs/": (500, b"Traceback")}) as address:
        assert only(check_ray(ray(tmp_path, address))) == "the jobs API fails: 500, Traceback"
    with answering(RAY | {"/api/version": (200, b'{"ray_version": "3.1.0"}')}) as address:
        assert verdicts(check_ray(ray(tmp_path, address)))["ray-version"] == "warn"


def test_an_answer_without_end(tmp_path: Path) -> None:
    with answering({"/api/version": (200, b"x" * (9 << 20))}) as address:
        assert "more than" in only(check_ray(ray(tmp_path, address)))
