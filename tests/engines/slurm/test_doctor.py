"""`moyai doctor` at a real Slurm cluster: as it should be, with other keys and clocks, and with its daemons gone."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.slurm.cluster import Cluster, missing
from moyai.agent.doctor.check import Check, Verdict
from moyai.agent.doctor.slurm import check_slurm
from moyai.model.engine import SlurmSettings

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(nodes=1)
    try:
        yield made.up()
    finally:
        made.down()


@pytest.fixture(autouse=True)
def in_english(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    monkeypatch.setenv("MOYAI_LANG", "en")
    monkeypatch.setenv("PATH", cluster.env["PATH"])


def wrong(checks: list[Check]) -> list[str]:
    """The words of what is bad; each says how it is mended."""
    assert all(check.mend for check in checks if check.verdict is not Verdict.OK)
    return [check.what for check in checks if check.verdict is Verdict.BAD]


def settings(cluster: Cluster, **changed: str) -> SlurmSettings:
    return SlurmSettings(**{"rest": cluster.rest, "jwt_key": str(cluster.dir / "jwt.key"), "user": "root", **changed})


def test_as_it_should_be(cluster: Cluster) -> None:
    found = check_slurm(settings(cluster))
    assert not wrong(found)
    assert [check.name for check in found] == ["slurm", "slurm-version", "slurm-token"]
    assert not wrong(check_slurm(SlurmSettings(config=str(cluster.config))))


def test_another_key_an_old_token_and_no_token(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(b"k" * 32)
    assert "does not take the token of root" in wrong(check_slurm(settings(cluster, jwt_key=str(other))))[0]
    hour_ago = time.time() - 3_600
    assert "does not take the token of root" in wrong(check_slurm(settings(cluster), now_s=hour_ago))[0]
    assert "wants a token" in wrong(check_slurm(settings(cluster, jwt_key="")))[0]


def test_slurmctld_is_gone(cluster: Cluster) -> None:
    cluster.kill("slurmctld")
    try:
        assert wrong(check_slurm(settings(cluster)))
        assert wrong(check_slurm(SlurmSettings(config=str(cluster.config))))
    finally:
        cluster.start("slurmctld", "-f", str(cluster.config))


def test_slurmrestd_is_gone(cluster: Cluster) -> None:
    cluster.kill("slurmrestd")
    assert "does not answer" in wrong(check_slurm(settings(cluster)))[0]
