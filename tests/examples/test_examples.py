"""Every example is read, resolves, and, where it brings a program, runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moyai.model.site import link_key, within
from moyai.model.specs.fleet import FleetSpec
from moyai.model.specs.job import JobSpec
from moyai.model.specs.resolve import resolve, resolve_fleet
from moyai.model.units import Instant

EXAMPLES = Path(__file__).parents[2] / "examples"
NOW = Instant(1_790_000_000_000_000)
WORKFLOWS = [EXAMPLES / "workflow.yaml"]
JOBS = sorted(set(EXAMPLES.glob("*.yaml")) - set(WORKFLOWS))
FLEETS = sorted(EXAMPLES.glob("fleets/*.yaml"))


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.stem)
def test_a_workload_resolves(file: Path) -> None:
    spec = JobSpec.from_file(file)
    order, text = resolve(spec, NOW)
    assert order.name
    assert text.run
    assert spec.workdir is None or (file.parent / spec.workdir).is_dir()


@pytest.mark.parametrize("file", FLEETS, ids=lambda file: file.stem)
def test_a_fleet_resolves(file: Path) -> None:
    sites, links = resolve_fleet(FleetSpec.from_file(file))
    names = [site.name for site in sites]
    assert {(link.a, link.b) for link in links} == {link_key(a, b) for a in names for b in names if a != b}
    for site in sites:
        assert site.synthetic
        full_w = sum(flavor.count * flavor.peak_w for flavor in site.flavors) * site.pue_milli // 1_000
        assert site.power_cap_w >= full_w * 3 // 4, "the cap leaves most of the site usable"


def test_every_workload_fits_the_fleet_and_residency_leaves_one_site() -> None:
    sites, _ = resolve_fleet(FleetSpec.from_file(EXAMPLES / "fleets/three-sites.yaml"))
    assert [site.name for site in sites] == ["fukuoka", "ishikari", "tokyo"]
    for file in JOBS:
        order, _ = resolve(JobSpec.from_file(file), NOW)
        allowed = [site.name for site in sites if within(site.jurisdiction, order.residency)]
        assert allowed == (["fukuoka"] if file.stem == "residency" else ["fukuoka", "ishikari", "tokyo"])
        for site in sites:
            assert any(
                flavor.count >= order.nodes
                and flavor.cores >= order.need.cores
                and flavor.memory_bytes >= order.need.memory_bytes
                and flavor.accelerators >= order.need.accelerators
                for flavor in site.flavors
            )


def train(root: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "train.py"],
        cwd=EXAMPLES / "train",
        env={"PATH": os.environ["PATH"], "MOYAI_CHECKPOINT": str(root), **env},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_training_saves_on_request_and_goes_on_from_there(tmp_path: Path) -> None:
    first = train(tmp_path, STEPS="1000000", EVERY="100")
    assert first.stdout is not None
    assert any(line.startswith("checkpoint") for line in first.stdout)
    first.send_signal(signal.SIGTERM)
    first.communicate()
    assert first.returncode == 143
    saved = sorted(marker.parent.name for marker in tmp_path.glob("*/.complete"))
    assert saved
    at = int(saved[-1].removeprefix("step-"))
    second = train(tmp_path, STEPS=str(at + 100), EVERY="100")
    said = second.communicate()[0].splitlines()
    assert second.returncode == 0
    assert said[0] == f"resumed from {saved[-1]}"
    assert said[-1] == f"checkpoint step-{at + 100:06}" or said[-1].startswith(f"step {at + 100} loss")


def test_the_gang_counts_each_prime_once(tmp_path: Path) -> None:
    run = JobSpec.from_file(EXAMPLES / "gang.yaml").run
    found = 0
    for rank in range(2):
        env = {"PATH": os.environ["PATH"], "MOYAI_RANK": str(rank), "MOYAI_NODES": "2"}
        said = subprocess.run(["/bin/sh", "-c", run], env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert said.stdout.startswith(f"rank {rank} of 2: ")
        found += int(said.stdout.split(":")[1].split()[0])
    assert found == 2_262  # primes below 20,000
