"""Mounts by the real bubblewrap, where there is one that works."""

import subprocess
import sys
from pathlib import Path

import pytest

from moyai.agent.engines.host import mounts
from moyai.agent.engines.host.mounts import Mount, MountRefused, wrap

BWRAP = mounts.find()


@pytest.fixture(scope="module")
def bwrap() -> str:
    if not mounts.works(BWRAP):
        pytest.skip("no bubblewrap works here")
    return BWRAP


def run(words: list[str], script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*words, "/bin/bash", "-c", script], capture_output=True, text=True, check=False)


def test_new_paths_appear_for_the_job_alone(bwrap: str, tmp_path: Path) -> None:
    data, ckpt = tmp_path / "d", tmp_path / "c"
    data.mkdir()
    ckpt.mkdir()
    (data / "x").write_text("data")
    wanted = [
        Mount(data, "/moyai-test/corpus"),
        Mount(ckpt, "/mnt/moyai-test/ckpt", writable=True),
        Mount(data, "/moyai-test2"),
    ]
    done = run(
        wrap(bwrap, wanted, str(tmp_path)),
        "cat /moyai-test/corpus/x /moyai-test2/x; echo saved > /mnt/moyai-test/ckpt/s; pwd; ls /usr/bin/env; exit 7",
    )
    assert done.stderr == ""
    assert done.stdout == f"datadata{tmp_path}\n/usr/bin/env\n"
    assert done.returncode == 7
    assert (ckpt / "s").read_text() == "saved\n"
    assert not Path("/moyai-test").exists()
    assert not Path("/mnt/moyai-test").exists()


def test_data_can_not_be_written(bwrap: str, tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.mkdir()
    done = run(wrap(bwrap, [Mount(data, "/moyai-test/d")], "/"), "touch /moyai-test/d/x")
    assert "Read-only file system" in done.stderr
    assert list(data.iterdir()) == []


def test_a_directory_that_exists_is_covered(bwrap: str, tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.mkdir()
    (data / "x").write_text("mine")
    done = run(wrap(bwrap, [Mount(data, "/opt")], "/"), "ls /opt")
    assert done.stdout == "x\n"


@pytest.mark.parametrize("target", ["data", "/", "/a/../b", "/a//b", "/a/", "/etc/hostname/x", ""])
def test_paths_that_can_not_be_are_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(MountRefused):
        wrap("bwrap", [Mount(tmp_path, target)], "/")


def test_what_does_not_work_is_not_claimed() -> None:
    assert not mounts.works("")
    assert not mounts.works("/nowhere/bwrap")
    assert not mounts.works(sys.executable)
