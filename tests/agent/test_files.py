"""The files that a task leaves, on a real disk."""

from pathlib import Path

import pytest

from moyai.agent.files import Unkept, keep
from moyai.data.io.tree import tree_path
from moyai.model.workload import JobText


@pytest.fixture
def work(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    (place / "out").mkdir(parents=True)
    (place / "out" / "one").write_text("1")
    (place / "sums.json").write_text("{}")
    (tmp_path / "objects").mkdir()
    return place


async def kept(work: Path, path: str, going=lambda _: False):
    text = JobText("true", files=(("f", path),))
    return await keep(work, work.parent / "objects", "f", text, going)


async def test_a_directory_and_a_file_become_objects(work: Path) -> None:
    manifest, held = await kept(work, "out/")
    assert (tree_path(work.parent / "objects", manifest) / "one").read_text() == "1"
    assert held.size_bytes == 1
    manifest, _ = await kept(work, "sums.json")
    assert (tree_path(work.parent / "objects", manifest) / "sums.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing.txt", "there is no nothing.txt"),
        ("../objects", "leads out"),
        ("away", "leads out"),
        ("/etc", "leads out"),
    ],
)
async def test_what_is_not_there_or_elsewhere_is_not_kept(work: Path, path: str, words: str) -> None:
    (work / "away").symlink_to("/etc")
    with pytest.raises(Unkept) as problem:
        await kept(work, path)
    assert problem.value.file == "f"
    assert words in problem.value.detail


async def test_a_file_without_a_known_path_is_not_kept(work: Path) -> None:
    with pytest.raises(Unkept, match="its path is not known"):
        await keep(work, work.parent / "objects", "g", JobText("true"), lambda _: False)


async def test_what_is_just_being_deleted_is_kept_anew(work: Path) -> None:
    asked = []

    def going(manifest):
        asked.append(manifest)
        return len(asked) < 3

    manifest, _ = await kept(work, "out", going)
    assert asked == [manifest] * 3
