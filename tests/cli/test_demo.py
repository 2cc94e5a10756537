"""The demo, whole: it takes about a minute, and every fact of its story must be true."""

import json
import os
import subprocess
import sys

TRUE_AT_LEAST = {"trained", "survived", "resumed", "deadline", "residency", "shorts", "backfilled", "cheaper", "log"}


def test_every_fact_of_the_demo_is_true(tmp_path) -> None:
    env = {**os.environ, "TMPDIR": "/tmp", "HOME": str(tmp_path), "MOYAI_LANG": "en"}
    done = subprocess.run(
        [sys.executable, "-m", "moyai.cli.main", "demo", "--json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6_000:]
    told = json.loads(done.stdout)
    assert set(told["facts"]) >= TRUE_AT_LEAST
    assert all(told["facts"].values())
    assert told["events"] > 50
