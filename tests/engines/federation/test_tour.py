"""The federation of the examples, as a newcomer runs it: two Slurm clusters, a Ray cluster and a host site, toured."""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engines.ray.clusters import find_ray
from engines.slurm.cluster import missing

PLACE = Path(__file__).parents[3] / "examples" / "federation"


def test_one_file_runs_everywhere_and_a_preempted_gang_goes_on_at_another_engine() -> None:
    if why := missing():
        pytest.skip(f"no Slurm here: {why}")
    if not find_ray():
        pytest.skip("no Ray here: make ray")
    home = Path(tempfile.mkdtemp(prefix="mf", dir="/tmp"))
    env = os.environ | {
        "MOYAI_FEDERATION": str(home),
        "PORT": str(random.randrange(30_000, 32_000)),
        "RAY": find_ray(),
        "MOYAI": str(Path(sys.executable).with_name("moyai")),
    }
    try:
        up = subprocess.run([PLACE / "up.sh"], env=env, capture_output=True, text=True, timeout=240)
        assert up.returncode == 0, up.stdout + up.stderr
        again = subprocess.run([PLACE / "up.sh"], env=env, capture_output=True, text=True, timeout=120)
        assert again.returncode == 0, again.stdout + again.stderr
        toured = subprocess.run(
            [sys.executable, PLACE / "tour.py"], env=env, capture_output=True, text=True, timeout=400
        )
        assert toured.returncode == 0, toured.stdout + toured.stderr
        assert toured.stdout.count("✓") == 7
    finally:
        down = subprocess.run([PLACE / "up.sh", "down"], env=env, capture_output=True, text=True, timeout=180)
    assert down.returncode == 0, down.stderr
    assert not home.exists()
    left = subprocess.run(["pgrep", "-f", f"{home}/"], capture_output=True, text=True)
    assert left.stdout == ""
