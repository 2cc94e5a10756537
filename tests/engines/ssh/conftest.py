"""Machines and sites that leave nothing behind."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines.ssh.machines import TestMachine, can_isolate, keygen, need_sshd
from engines.ssh.site import SshSite, host
from moyai.model.engine import SshHost


@pytest.fixture(scope="session")
def isolated() -> bool:
    return can_isolate()


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory with a short path."""
    place = Path(tempfile.mkdtemp(prefix="mS", dir="/tmp"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def key(ground: Path) -> Path:
    need_sshd()
    keygen(ground / "id")
    return ground / "id"


@pytest.fixture
def machines(ground: Path, key: Path, isolated: bool) -> Iterator[Callable[[int], list[TestMachine]]]:
    """Makes machines m0, m1, … and ends them."""
    made: list[TestMachine] = []

    def make(count: int) -> list[TestMachine]:
        public = Path(f"{key}.pub").read_text()
        for _ in range(count):
            made.append(TestMachine(ground, f"m{len(made)}", public, isolated))
            made[-1].start()
        return made[-count:]

    yield make
    for machine in made:
        machine.close()


@pytest.fixture
def site(ground: Path, key: Path) -> Iterator[Callable[..., SshSite]]:
    """Makes sites of machines; ends their agents."""
    made: list[SshSite] = []

    def make(
        control: str, machines: list[TestMachine], name: str = "tokyo", hosts: tuple[SshHost, ...] = ()
    ) -> SshSite:
        hosts = hosts or tuple(host(machine, key) for machine in machines)
        known = "".join(machine.known() for machine in machines)
        root = ground / f"site-{name}"
        root.mkdir()
        made.append(SshSite(root, name, control, hosts, known))
        return made[-1]

    yield make
    for one in made:
        one.close()
