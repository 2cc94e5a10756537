"""Trees on disk: kept whole or not at all, and given out as they were."""

import os
from pathlib import Path

import pytest

from moyai.data.io import tree
from moyai.data.io.tree import TreeError
from moyai.data.manifest import BadManifest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "deep/er").mkdir(parents=True)
    (root / "a.txt").write_text("aaa")
    (root / "deep/er/run.sh").write_text("#!/bin/sh\n")
    (root / "deep/er/run.sh").chmod(0o750)
    (root / "deep/empty").mkdir()
    (root / "link").symlink_to("a.txt")
    return root


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    place = tmp_path / "objects"
    place.mkdir()
    return place


def test_what_is_kept_is_given_out_again(source: Path, objects: Path, tmp_path: Path) -> None:
    name, manifest = tree.keep(source, objects)
    assert tree.load(objects, name) == manifest == tree.scan(source)
    assert [f.path for f in manifest.files] == ["a.txt", "deep/er/run.sh", "link"]
    target = tmp_path / "out"
    tree.give_out(objects, name, target)
    assert (target / "link").read_text() == "aaa"
    assert not (target / "link").is_symlink()
    assert os.access(target / "deep/er/run.sh", os.X_OK)
    (target / "a.txt").write_text("mine")
    assert tree.scan(tree.tree_path(objects, name)) == manifest


def test_the_same_tree_twice_is_one_object(source: Path, objects: Path) -> None:
    assert tree.keep(source, objects)[0] == tree.keep(source, objects)[0]
    assert len(list(objects.iterdir())) == 1


def test_a_prefix_stands_before_all_paths(source: Path, objects: Path) -> None:
    _, manifest = tree.keep(source, objects, "step-1/")
    assert manifest.tops() == ("step-1",)


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "nowhere", "deep", "link"])
def test_links_that_lead_out_or_nowhere_are_refused(source: Path, objects: Path, target: str) -> None:
    (source.parent / "outside").write_text("secret")
    (source / "link").unlink()
    (source / "link").symlink_to(target)
    with pytest.raises(TreeError, match="link"):
        tree.keep(source, objects)
    assert list(objects.iterdir()) == []


def test_other_things_than_files_are_refused(source: Path, objects: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(TreeError, match="neither a file nor a directory"):
        tree.keep(source, objects)


def test_a_damaged_object_is_not_given_out(source: Path, objects: Path, tmp_path: Path) -> None:
    name, manifest = tree.keep(source, objects)
    damaged = tree.tree_path(objects, name) / "a.txt"
    damaged.chmod(0o600)
    damaged.write_text("aab")
    assert tree.problem(tree.tree_path(objects, name), manifest.files[0]) == "a.txt is damaged"
    with pytest.raises(TreeError, match=r"a\.txt is damaged"):
        tree.give_out(objects, name, tmp_path / "out")
    tree.manifest_path(objects, name).write_bytes(b"{}")
    with pytest.raises(BadManifest):
        tree.load(objects, name)


def test_dropping_is_done_once_and_again(source: Path, objects: Path) -> None:
    name, _ = tree.keep(source, objects)
    tree.drop(objects, name)
    tree.drop(objects, name)
    assert list(objects.iterdir()) == []


def test_what_a_crash_left_is_removed(source: Path, objects: Path) -> None:
    name, _ = tree.keep(source, objects)
    (objects / ".keep-1-x/tree").mkdir(parents=True)
    (objects / f".drop-{name}").mkdir()
    (objects / ".part-y").mkdir()
    assert tree.tidy(objects) == [name]
    assert sorted(p.name for p in objects.iterdir()) == [".part-y", name]


def test_one_file_is_a_tree_too(source: Path, objects: Path) -> None:
    _, manifest = tree.keep_any(str(source / "a.txt"), objects)
    assert [f.path for f in manifest.files] == ["a.txt"]
    with pytest.raises(TreeError, match="not an absolute path"):
        tree.keep_any("a.txt", objects)
    with pytest.raises(TreeError, match="is not there"):
        tree.keep_any("/nowhere/at/all", objects)


def test_many_files_and_none(tmp_path: Path, objects: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    assert tree.keep(many, objects)[1].files == ()
    for number in range(100):
        (many / str(number)).write_text(str(number))
    assert len(tree.keep(many, objects)[1].files) == 100
