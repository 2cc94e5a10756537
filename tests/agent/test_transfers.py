"""Fetching: paced, resumed, verified, bounded."""

import asyncio
from pathlib import Path

import pytest

from moyai.agent.control import Denied, Gone, Unreachable
from moyai.agent.transfers import TRIES, Fetcher, tidy
from moyai.data.io import tree
from moyai.data.manifest import Manifest
from moyai.model.commands import Fetch
from moyai.model.ids import ManifestId, SiteName, TransferId


class FakeRelay:
    """Bytes of another site's objects, with faults that a test asks for."""

    def __init__(self, objects: Path) -> None:
        self.objects = objects
        self.faults: list[Exception] = []
        self.damage = 0
        self.asked: list[tuple[int, int, int]] = []
        self.most_flying = self.flying = 0

    async def manifest(self, source: SiteName, manifest: ManifestId) -> bytes:
        await self._maybe_fail()
        return tree.manifest_path(self.objects, manifest).read_bytes()

    async def piece(self, source: SiteName, manifest: ManifestId, index: int, offset: int, limit: int) -> bytes:
        self.asked.append((index, offset, limit))
        self.flying += 1
        self.most_flying = max(self.flying, self.most_flying)
        await asyncio.sleep(0.001)
        self.flying -= 1
        await self._maybe_fail()
        file = tree.load(self.objects, manifest).files[index]
        data = (tree.tree_path(self.objects, manifest) / file.path).read_bytes()[offset : offset + limit]
        if self.damage > 0:
            self.damage -= 1
            data = bytes([data[0] ^ 1]) + data[1:]
        return data

    async def _maybe_fail(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


@pytest.fixture
def made(tmp_path: Path) -> tuple[FakeRelay, Fetcher, ManifestId, Manifest, Path]:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "big").write_bytes(bytes(range(256)) * 4000)
    (source / "sub/small").write_text("small")
    (source / "empty").touch()
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    name, manifest = tree.keep(source, there)
    relay = FakeRelay(there)
    return relay, Fetcher(relay, here), name, manifest, here


def order(manifest: ManifestId, bytes_per_second: int = 1_000_000_000, latency_us: int = 0) -> Fetch:
    return Fetch(TransferId("t"), manifest, SiteName("there"), 0, bytes_per_second, latency_us)


async def test_a_whole_tree_comes_and_is_counted(made) -> None:
    relay, fetcher, name, manifest, here = made
    done = await fetcher.fetch(order(name, 1_000_000))
    assert done.stored
    assert done.moved_bytes == manifest.size_bytes + len(manifest.data())
    assert tree.load(here, name) == manifest == tree.scan(tree.tree_path(here, name))
    assert 1 < relay.most_flying <= 4
    assert done.took_us >= 1_000_000
    assert (await fetcher.fetch(order(name))).moved_bytes == 0


async def test_what_is_cut_short_goes_on_where_it_was(made) -> None:
    relay, fetcher, name, manifest, here = made
    task = asyncio.create_task(fetcher.fetch(order(name, 1_000_000)))
    part = here / f".part-{name}/tree/big"
    async with asyncio.timeout(20):
        while not (part.exists() and part.stat().st_size):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    had = part.stat().st_size
    relay.asked.clear()
    done = await fetcher.fetch(order(name))
    assert done.stored
    assert min(offset for index, offset, _ in relay.asked if index == 0) == had
    assert done.moved_bytes == manifest.size_bytes - had
    assert tree.scan(tree.tree_path(here, name)) == manifest


async def test_faults_that_pass_are_passed(made) -> None:
    relay, fetcher, name, _, _ = made
    relay.faults = [Unreachable("x"), Unreachable("y")]
    assert (await fetcher.fetch(order(name))).stored


@pytest.mark.parametrize("fault", [Gone("410"), Denied("403")])
async def test_a_source_without_it_is_said(made, fault: Exception) -> None:
    relay, fetcher, name, _, here = made
    relay.faults = [fault]
    done = await fetcher.fetch(order(name))
    assert (done.stored, "there has not got it" in done.detail) == (False, True)
    assert list(here.iterdir()) == []


async def test_a_source_that_stays_away_is_given_up(made, monkeypatch: pytest.MonkeyPatch) -> None:
    relay, fetcher, name, _, _ = made
    monkeypatch.setattr("moyai.agent.transfers.AGAIN_MOST_S", 0.001)
    monkeypatch.setattr("moyai.agent.transfers.AGAIN_S", 0.001)
    relay.faults = [Unreachable("x")] * TRIES
    done = await fetcher.fetch(order(name))
    assert (done.stored, "can't be reached" in done.detail) == (False, True)


async def test_a_damaged_file_comes_again_once(made) -> None:
    relay, fetcher, name, manifest, here = made
    relay.damage = 1
    done = await fetcher.fetch(order(name))
    assert done.stored
    assert done.moved_bytes > manifest.size_bytes + len(manifest.data())
    assert tree.scan(tree.tree_path(here, name)) == manifest


async def test_a_file_that_stays_damaged_is_no_object(made) -> None:
    relay, fetcher, name, _, here = made
    relay.damage = 10**6
    done = await fetcher.fetch(order(name))
    assert (done.stored, "damaged twice" in done.detail) == (False, True)
    assert list(here.iterdir()) == []


async def test_a_forged_manifest_is_refused(made, tmp_path: Path) -> None:
    relay, fetcher, name, _, _ = made
    tree.manifest_path(relay.objects, name).write_bytes(b'{"files":[]}')
    done = await fetcher.fetch(order(name))
    assert (done.stored, "not those of manifest" in done.detail) == (False, True)
    assert not (await fetcher.fetch(order(ManifestId("../../etc")))).stored


async def test_partial_fetches_that_nobody_wants_are_removed(made) -> None:
    _, _, name, _, here = made
    (here / f".part-{name}").mkdir()
    (here / ".part-other").mkdir()
    tidy(here, {name})
    assert [p.name for p in here.iterdir()] == [f".part-{name}"]
