"""This machine, as it is and as it must not be."""

import os
import subprocess
from pathlib import Path

import pytest

from moyai.agent.doctor.check import Verdict
from moyai.agent.doctor.clock import check_boot_clock, check_wall_clock
from moyai.agent.doctor.engines import check_engine
from moyai.agent.doctor.host import check_bubblewrap, check_cgroups, check_machine, check_platform, check_python
from moyai.agent.doctor.place import check_directory, check_disk

OK, WARN, BAD = Verdict.OK, Verdict.WARN, Verdict.BAD
NOW_S = 1_795_000_000.0


def test_this_machine_can_run_moyai() -> None:
    assert [check.verdict for check in check_machine()] == [OK, OK, OK]
    assert not [check for check in check_engine("host", None) if check.verdict is BAD]


def test_an_old_python_and_another_system() -> None:
    old = check_python((3, 10, 4))
    assert (old.verdict, old.what) == (BAD, "Python 3.10.4 is too old")
    assert old.mend == "install Python 3.11 or later, and Moyai for it"
    assert check_platform("darwin").verdict is BAD


def test_the_boot_clock_runs() -> None:
    assert check_boot_clock().verdict is OK


@pytest.mark.parametrize(
    ("skew_s", "verdict", "said"),
    [
        (0.4, OK, "agrees"),
        (-1.5, OK, "agrees"),
        (30, WARN, "30 s ahead"),
        (-30, WARN, "30 s behind"),
        (3_600, BAD, "1 h ahead"),
        (-90, BAD, "1 min 30 s behind"),
    ],
)
def test_a_skewed_clock(skew_s: float, verdict: Verdict, said: str) -> None:
    found = check_wall_clock(NOW_S, "control", NOW_S + skew_s)
    assert found.verdict is verdict
    assert said in found.what
    assert ("NTP" in found.mend) is (verdict is not OK)


def test_a_clock_that_is_not_told() -> None:
    assert check_wall_clock(None, "control").verdict is WARN


def test_bubblewrap_missing_and_broken(tmp_path: Path) -> None:
    assert check_bubblewrap("").verdict is WARN
    assert check_bubblewrap(str(tmp_path / "bwrap")).what.startswith(f"{tmp_path}/bwrap is no program")
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    found = check_bubblewrap(str(broken))
    assert (found.verdict, "can't make a mount" in found.what) == (WARN, True)


def test_cgroups_are_tried_and_leave_nothing_behind() -> None:
    found = check_cgroups()
    assert found.verdict in (OK, WARN)
    assert bool(found.mend) is (found.verdict is WARN)
    assert not set(Path("/sys/fs/cgroup").rglob(f"moyai-doctor-{os.getpid()}"))


def test_directories(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert check_directory(home).what == f"{home}: No such file or directory"
    (tmp_path / "file").touch()
    assert check_directory(tmp_path / "file").what == f"{tmp_path}/file is no directory"
    home.mkdir(mode=0o700)
    assert check_directory(home).verdict is OK
    home.chmod(0o755)
    opened = check_directory(home)
    assert (opened.verdict, opened.mend) == (WARN, f"chmod 700 {home}")
    assert check_directory(Path("/proc/1")).verdict is BAD


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_a_directory_of_another_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 12_345, -1)
    assert check_directory(tmp_path).what == f"{tmp_path} belongs to another user (uid 12345)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_full_and_a_read_only_file_system(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(small)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        assert check_disk(small).verdict is BAD
        with (small / "big").open("wb") as file:
            while file.writable():
                try:
                    os.write(file.fileno(), b"x" * 65_536)
                except OSError:
                    break
        full = check_directory(small)
        assert (full.verdict, "No space left on device" in full.what) == (BAD, True)
        (small / "big").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        sealed = check_directory(small)
        assert (sealed.verdict, "Read-only file system" in sealed.what) == (BAD, True)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_room_on_the_disk(tmp_path: Path) -> None:
    assert check_disk(tmp_path, least=1, scarce=1).verdict is OK
    assert check_disk(tmp_path, least=1, scarce=1 << 60).verdict is WARN
    assert check_disk(tmp_path, least=1 << 60).verdict is BAD
    assert check_disk(tmp_path / "gone").verdict is BAD


def test_settings_that_do_not_fit_the_engine() -> None:
    assert check_engine("slurm", None)[0].what == "the file does not say how the engine slurm is reached"
