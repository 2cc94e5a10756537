"""What Ray is given to run: the shell's part and the driver's, without Ray."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agent.desk import until
from agent.site import launch
from moyai.agent.engines.batch.base import Submission
from moyai.agent.engines.ray import driver
from moyai.agent.engines.ray.script import gang, plan_of, single
from moyai.agent.messages import Start


def submission(place: Path, guard: tuple[str, ...], nodes: int = 1) -> Submission:
    place.mkdir(exist_ok=True)
    order = Start("a.1", nodes, ["x"], {}, "/", str(place), 2_000_000, 15, 0, 0, 0, 0)
    return Submission(launch("a.1", nodes=nodes), order, place, guard)


def run(script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", script], start_new_session=True)


def test_each_run_draws_a_nonce_of_its_own(tmp_path: Path) -> None:
    place = tmp_path / 'it\'s "a" $place'
    script = single(submission(place, ("printf", r"%s\n", "a b", "$HOME")))
    assert run(script).wait(20) == run(script).wait(20) == 0
    said = (place / "engine.out").read_text().split("\n")
    assert said[:6] == ["a b", "$HOME", "--rank", "0", "--nonce", said[5]]
    assert len({said[5], said[11]}) == 2
    assert len(said[5]) == 36


@pytest.mark.parametrize(("words", "code"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_guards(tmp_path: Path, words: str, code: int) -> None:
    assert run(single(submission(tmp_path / "a", ("sh", "-c", words, "guard")))).wait(20) == code


def test_the_guard_goes_on_where_ray_kills_the_jobs_group(tmp_path: Path) -> None:
    place = tmp_path / "a"
    guard = f"trap 'echo asked >{place}/asked' TERM; echo $$ >{place}/pid; until test -e {place}/go; do sleep 0.05; done; touch {place}/done"
    process = run(single(submission(place, ("sh", "-c", guard, "guard"))))
    until(lambda: (place / "pid").exists() and (place / "pid").read_text().strip())
    pid = int((place / "pid").read_text())
    for each in (process.pid, pid):  # as Ray does to end a job: to each of its processes
        os.kill(each, signal.SIGTERM)
    until((place / "asked").exists)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)  # as Ray does once its supervisor is dead
    process.wait()
    (place / "go").touch()
    until((place / "done").exists)


def test_a_gang_without_ray_says_what_is_missing(tmp_path: Path) -> None:
    made = submission(tmp_path / "a", ("guard",), 2)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("python", "python3"):
        (bin_ / name).write_text("#!/bin/sh\nexit 1\n")
        (bin_ / name).chmod(0o755)
    script = gang(made, tmp_path / "driver.py", "python3")
    assert subprocess.run(["/bin/sh", "-c", script], env={"PATH": str(bin_)}).returncode == 127
    assert "no Python here has Ray" in (made.place / "engine.out").read_text()


def test_a_plan_names_each_rank(tmp_path: Path) -> None:
    plan = plan_of(submission(tmp_path, ("guard", "--x"), 2), {"CPU": 1.0}, "STRICT_SPREAD")
    told = json.loads(msgspec.json.encode(plan))
    assert told["words"] == [["guard", "--x", "--rank", rank, "--nonce", "{nonce}"] for rank in "01"]
    assert (told["strategy"], told["amounts"], told["grace_s"]) == ("STRICT_SPREAD", {"CPU": 1}, 2)


def test_the_driver_needs_nothing_of_ours(tmp_path: Path) -> None:
    script = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); assert not [m for m in sys.modules if m.startswith('moyai')]"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", script, str(driver.__file__)], check=True)


def test_a_guards_own_words_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert driver.run_guard(["sh", "-c", "echo said; exit 4"], str(out)) == 4
    assert out.read_text() == "said\n"
