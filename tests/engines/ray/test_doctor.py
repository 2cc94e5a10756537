"""`moyai doctor` at a real Ray cluster: as it should be, with another token, and without one."""

from pathlib import Path

import pytest

from engines.ray.clusters import RayCluster
from moyai.agent.doctor.check import Verdict
from moyai.agent.doctor.ray import check_ray
from moyai.model.engine import RaySettings


def wrong(address: str, token: Path | None) -> list[str]:
    """The words of what is bad."""
    found = check_ray(RaySettings(address, token=str(token) if token else ""))
    return [check.what for check in found if check.verdict is Verdict.BAD]


def test_a_real_head(cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "en")
    assert wrong(cluster.address, cluster.token) == []
    other = tmp_path / "token"
    other.write_text("0" * 64)
    assert wrong(cluster.address, other) == [f"Ray at {cluster.address} does not take our token"]
    assert wrong(cluster.address, None) == [f"Ray at {cluster.address} wants a token, and the site's file names none"]
