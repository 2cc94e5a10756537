"""Manifests: one canonical form, and no path that leads out of a tree."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moyai.data.manifest import (
    EXECUTABLE,
    PLAIN,
    BadManifest,
    FileEntry,
    Manifest,
    is_id,
    manifest_of,
    parse,
    safe_path,
)
from moyai.model.codec import encode
from moyai.model.ids import ManifestId

HEX = "0" * 64
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda s: s not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def entry(path: str, size: int = 1) -> FileEntry:
    return FileEntry(path, size, PLAIN, HEX)


@given(
    st.lists(
        st.tuples(PATHS, st.integers(0, 2**50), st.sampled_from([PLAIN, EXECUTABLE])),
        unique_by=lambda t: t[0],
        max_size=8,
    )
)
def test_any_order_gives_the_same_bytes_which_read_back(files: list[tuple[str, int, int]]) -> None:
    entries = [FileEntry(path, size, mode, HEX) for path, size, mode in files]
    paths = [path for path, _, _ in files]
    assume(not any(other.startswith(path + "/") for path in paths for other in paths))
    manifest = manifest_of(entries)
    assert manifest_of(reversed(entries)) == manifest
    assert parse(manifest.data(), manifest.id) == manifest
    assert manifest.size_bytes == sum(e.size_bytes for e in entries)
    assert is_id(manifest.id)


@pytest.mark.parametrize(
    "path", ["", "/a", "../a", "a/../b", "a//b", "a/", "./a", ".", "..", "a/..", "a\0b", "\ud800", "x" * 5000]
)
def test_paths_that_lead_out_are_refused(path: str) -> None:
    assert not safe_path(path)
    with pytest.raises(BadManifest):
        manifest_of([entry(path)])


@pytest.mark.parametrize("path", ["a", "a/b", "...", ".hidden", "a/..b", "日本", "a b\n"])
def test_other_paths_are_fine(path: str) -> None:
    assert safe_path(path)
    assert parse(manifest_of([entry(path)]).data()).files[0].path == path


def test_a_file_that_is_a_directory_too_is_refused() -> None:
    with pytest.raises(BadManifest, match="'a' is a file and a directory"):
        manifest_of([entry("a"), entry("a/b")])


def test_a_path_twice_is_refused() -> None:
    with pytest.raises(BadManifest, match="each there once"):
        manifest_of([entry("a"), entry("a")])


@pytest.mark.parametrize(
    "bad", [FileEntry("a", -1, PLAIN, HEX), FileEntry("a", 1, 0o777, HEX), FileEntry("a", 1, PLAIN, "x")]
)
def test_entries_that_can_not_be_are_refused(bad: FileEntry) -> None:
    with pytest.raises(BadManifest):
        manifest_of([bad])


def test_bytes_must_be_canonical_and_those_that_were_asked_for() -> None:
    manifest = manifest_of([entry("a"), entry("b")])
    with pytest.raises(BadManifest, match="not those of manifest"):
        parse(manifest.data(), ManifestId(HEX))
    with pytest.raises(BadManifest, match="canonical"):
        parse(manifest.data() + b" ")
    with pytest.raises(BadManifest, match="sorted"):
        parse(encode(Manifest(tuple(reversed(manifest.files)))))
    with pytest.raises(BadManifest):
        parse(b"[]")


def test_the_names_at_the_root() -> None:
    assert manifest_of([entry("s1/a"), entry("s1/b/c"), entry("x")]).tops() == ("s1", "x")
