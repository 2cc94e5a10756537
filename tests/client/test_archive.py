"""The archive of a working directory: the same files give the same id, and nothing that should stay is sent."""

import io
import os
import tarfile
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moyai.client import archive
from moyai.client.archive import Archive, pack
from moyai.client.errors import MoyaiError


def members(packed: Archive) -> dict[str, tarfile.TarInfo]:
    raw = zstandard.ZstdDecompressor().stream_reader(packed.data).read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {member.name: member for member in tar.getmembers()}


def contents(packed: Archive) -> dict[str, bytes]:
    raw = zstandard.ZstdDecompressor().stream_reader(packed.data).read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}  # type: ignore[union-attr]


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_the_id_is_the_blake3_of_the_bytes(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, {"train.py": b"print(1)\n"}))
    assert packed.blob == blake3(packed.data).hexdigest()
    assert (packed.files, packed.size_bytes, packed.left_out) == (1, 9, 0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text("abcdefgh表記", min_size=1, max_size=8).map(lambda name: f"{name}.txt"),
        st.binary(max_size=300),
        max_size=6,
    )
)
def test_the_same_files_give_the_same_bytes_whatever_their_times_and_order(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    one = write(tmp_path_factory.mktemp("one"), files)
    other = write(tmp_path_factory.mktemp("other"), dict(reversed(files.items())))
    for path in other.iterdir():
        os.utime(path, (1, 1))
    first, second = pack(one), pack(other)
    assert first == second
    assert contents(first) == files


def test_what_is_never_sent(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": b"a",
            ".git/config": b"x",
            ".venv/bin/python": b"x",
            "sub/__pycache__/a.pyc": b"x",
            "sub/b.py": b"b",
            "home/log.db": b"x",
            "runs/old/out": b"x",
            "runs/new/out": b"y",
            "big.ckpt": b"x",
            ".moyaiignore": b"# models\n*.ckpt\n\nruns/old/\n",
        },
    )
    names = contents(pack(tmp_path, exclude=(tmp_path / "home",)))
    assert sorted(names) == [".moyaiignore", "a.py", "runs/new/out", "sub/b.py"]


def test_modes_are_two_and_empty_directories_stay(tmp_path: Path) -> None:
    write(tmp_path, {"tool.sh": b"#!/bin/sh\n", "note.txt": b""})
    (tmp_path / "tool.sh").chmod(0o700)
    (tmp_path / "note.txt").chmod(0o600)
    (tmp_path / "out").mkdir()
    found = members(pack(tmp_path))
    assert {name: oct(member.mode) for name, member in found.items()} == {
        "note.txt": "0o644",
        "out": "0o755",
        "tool.sh": "0o755",
    }
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in found.values()} == {(0, 0, 0, "")}


def test_links_inside_are_kept_and_links_that_lead_out_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": b"a", "sub/b.py": b"b"})
    (tmp_path / "sub" / "up").symlink_to("../a.py")
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "sneaky").symlink_to("sub/../../outside")
    os.mkfifo(tmp_path / "pipe")
    packed = pack(tmp_path)
    assert packed.left_out == 3
    assert sorted(members(packed)) == ["a.py", "sub", "sub/b.py", "sub/up"]


def test_too_much_is_refused_with_the_name_of_the_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LIMIT_BYTES", 2**20)
    write(tmp_path, {"a.py": b"a", "corpus/big.txt": bytes(2**20), "z.py": b"z"})
    with pytest.raises(MoyaiError) as raised:
        pack(tmp_path)
    assert raised.value.code == "too-large"
    assert "1 MiB" in raised.value.message
    assert "corpus" in raised.value.message
    assert ".moyaiignore" in raised.value.hint


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LIMIT_FILES", 3)
    write(tmp_path, {f"n/{i}": b"" for i in range(5)})
    with pytest.raises(MoyaiError, match="more than 3 files"):
        pack(tmp_path)


def test_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MoyaiError, match="not a directory"):
        pack(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"secret": b"x"})
    (tmp_path / "secret").chmod(0)
    with pytest.raises(MoyaiError, match="secret"):
        pack(tmp_path)
