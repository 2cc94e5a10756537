"""Sites and desks that leave nothing behind."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.desk import Desk
from agent.site import Site


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A supervisor with a connection to it."""
    directory = Path(tempfile.mkdtemp(prefix="md", dir="/tmp"))
    started = Desk(directory).start()
    yield started
    started.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes sites; ends all of them."""
    made: list[Site] = []

    def make(name: str, control: str) -> Site:
        made.append(Site(tmp_path, name, control))
        return made[-1]

    yield make
    for site in made:
        site.close()
