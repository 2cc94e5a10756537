"""Keys in files: made once, even in a race; refused where others could read them; gone when destroyed."""

import multiprocessing
import os
from pathlib import Path

import pytest

from moyai.model.ids import TenantName
from moyai.trust.io.filekeys import FileKeys, KeyTrouble
from moyai.trust.seal import public_of, sign, verify

LAB = TenantName("lab")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the keys of a test lie."""
    return tmp_path / "keys"


def test_a_key_is_made_once_and_kept(place: Path) -> None:
    keys = FileKeys(place)
    first = keys.tenant_key(LAB)
    assert len(first) == 32
    assert keys.tenant_key(LAB) == first == FileKeys(place).tenant_key(LAB)
    assert keys.tenant_key(TenantName("other")) != first
    assert keys.signing_key() not in {first, keys.tenant_key(TenantName("signing"))}
    assert verify(keys.public_key, b"m", sign(FileKeys(place).signing_key(), b"m"))
    assert keys.public_key == public_of(keys.signing_key())


def test_only_the_owner_may_look(place: Path) -> None:
    old = os.umask(0)
    try:
        FileKeys(place).tenant_key(LAB)
        FileKeys(place).signing_key()
    finally:
        os.umask(old)
    assert place.stat().st_mode & 0o777 == 0o700
    assert sorted(file.name for file in place.iterdir()) == ["signing.key", "tenant-lab.key"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in place.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o700 | 0o001])
def test_a_loose_key_is_refused(place: Path, mode: int) -> None:
    FileKeys(place).tenant_key(LAB)
    (place / "tenant-lab.key").chmod(mode)
    with pytest.raises(KeyTrouble, match=rf"others may use it \(mode {mode:04o}\).*chmod 600"):
        FileKeys(place).tenant_key(LAB)


def test_a_loose_directory_is_refused(place: Path) -> None:
    place.mkdir()
    place.chmod(0o750)
    with pytest.raises(KeyTrouble, match=r"others may use it.*chmod 700"):
        FileKeys(place)


def test_damaged_keys_and_links_are_refused(place: Path, tmp_path: Path) -> None:
    keys = FileKeys(place)
    keys.signing_key()
    for content in (b"", b"short", bytes(33)):
        (place / "signing.key").write_bytes(content)
        with pytest.raises(KeyTrouble, match="the key is damaged"):
            FileKeys(place).signing_key()
    (tmp_path / "elsewhere").write_bytes(bytes(range(32)))
    (place / "tenant-lab.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyTrouble, match="can't be used"):
        keys.tenant_key(LAB)


def test_a_destroyed_key_is_gone_for_good(place: Path) -> None:
    keys = FileKeys(place)
    first = keys.tenant_key(LAB)
    held = (place / "tenant-lab.key").open("rb")  # as a copy of the disk's blocks would be
    assert keys.destroy(LAB)
    assert held.read() == bytes(32)
    held.close()
    assert not list(place.iterdir())
    assert not keys.destroy(LAB)
    assert keys.tenant_key(LAB) != first


def test_a_destruction_that_stopped_half_way_gives_no_key(place: Path) -> None:
    keys = FileKeys(place)
    keys.tenant_key(LAB)
    (place / "tenant-lab.key").write_bytes(bytes(32))
    with pytest.raises(KeyTrouble, match="being destroyed"):
        FileKeys(place).tenant_key(LAB)
    assert keys.destroy(LAB)
    FileKeys(place).tenant_key(LAB)


@pytest.mark.parametrize("name", ["-", "..", "../lab", "a/b", "Lab", "語彙", "x" * 300, "a\0b", "", "~"])
def test_any_tenant_has_a_file_of_its_own_inside(place: Path, name: str) -> None:
    keys = FileKeys(place)
    mine = keys.tenant_key(TenantName(name))
    assert mine != keys.tenant_key(LAB)
    assert len(list(place.iterdir())) == 2
    assert FileKeys(place).tenant_key(TenantName(name)) == mine


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "no" / "keys"):
        with pytest.raises(KeyTrouble, match="keys' directory can't be used"):
            FileKeys(wrong)


def _make(place: Path, barrier: "multiprocessing.synchronize.Barrier", out: "multiprocessing.Queue[bytes]") -> None:
    keys = FileKeys(place)
    barrier.wait()
    out.put(keys.tenant_key(LAB))


def test_a_race_makes_one_key(place: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    barrier, out = spawn.Barrier(4), spawn.Queue()
    racers = [spawn.Process(target=_make, args=(place, barrier, out)) for _ in range(4)]
    for racer in racers:
        racer.start()
    made = {out.get(timeout=30) for _ in racers}
    for racer in racers:
        racer.join()
    assert made == {FileKeys(place).tenant_key(LAB)}
    assert [file.name for file in place.iterdir()] == ["tenant-lab.key"]
