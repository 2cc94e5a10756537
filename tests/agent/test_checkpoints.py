"""Checkpoints, datasets and code between sites, with real agents and a fake control plane between them."""

import asyncio
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import zstandard
from blake3 import blake3

from agent.fake_control import FakeControl
from agent.site import Site, launch, text
from moyai.agent.checkpoints import Found, Watcher
from moyai.agent.clocks import boot_us
from moyai.data.io import tree
from moyai.model.commands import Adopt, Drop, Fetch, Input
from moyai.model.events import (
    AttemptEnded,
    AttemptStarted,
    CapacityReported,
    CheckpointCompleted,
    DatasetAdopted,
    DatasetRejected,
    Outcome,
    ReplicaDropped,
    TransferEnded,
)
from moyai.model.exchange import AskKind
from moyai.model.ids import AttemptId, BlobId, DatasetName, ManifestId, SiteName, TextRef, TransferId
from moyai.model.reasons import Code
from moyai.model.workload import CheckpointRule, DatasetText

Make = Callable[..., Site]
SAVE = """
save() { mkdir -p $MOYAI_CHECKPOINT/$1; echo "state $1" > $MOYAI_CHECKPOINT/$1/w; touch $MOYAI_CHECKPOINT/$1/.complete.tmp
mv $MOYAI_CHECKPOINT/$1/.complete.tmp $MOYAI_CHECKPOINT/$1/.complete; }
"""


async def joined(control: FakeControl, sites: Make, name: str) -> Site:
    site = sites(name, control.address).start()
    await control.report(name, CapacityReported)
    return site


async def test_a_checkpoint_moves_to_another_site_and_is_resumed_from_there(sites: Make) -> None:
    async with FakeControl() as control:
        one, two = await joined(control, sites, "one"), await joined(control, sites, "two")
        rule = CheckpointRule()
        await control.command(
            "one", launch("a.1", checkpoint=rule, covered_us=1_000), text(SAVE + "save s1; sleep 1000")
        )
        done = await control.report("one", CheckpointCompleted)
        assert (done.attempt, done.name) == ("a.1", "s1")
        assert done.covered_us >= 1_000
        assert tree.load(one.dir / "objects", done.manifest).size_bytes == done.size_bytes == len("state s1\n")
        control.fail_pieces = 2
        fetch = Fetch(TransferId("t1"), done.manifest, SiteName("one"), done.size_bytes, 1_000_000, 1_000)
        await control.command("two", fetch)
        ended = await control.report("two", TransferEnded)
        assert (ended.stored, ended.detail) == (True, "")
        assert ended.moved_bytes == control.moved
        one.close()
        run = SAVE + "ls $MOYAI_CHECKPOINT; cat $MOYAI_CHECKPOINT/s1/w; echo $MOYAI_RESTORED; save s2"
        await control.command(
            "two", launch("a.2", checkpoint=rule, restore=done.manifest, covered_us=done.covered_us), text(run)
        )
        await control.report("two", AttemptEnded)
        assert two.output("a.2") == "s1\nstate s1\n1\n"
        assert [(b.name, b.covered_us >= done.covered_us) for b in control.site("two").bodies(CheckpointCompleted)] == [
            ("s2", True)
        ]


async def test_a_checkpoint_made_at_the_very_end_counts_and_comes_before_the_end(sites: Make) -> None:
    async with FakeControl() as control:
        await joined(control, sites, "one")
        await control.command(
            "one", launch("a.1", checkpoint=CheckpointRule()), text(SAVE + "save s1; save s2; exit 3")
        )
        await control.report("one", AttemptEnded)
        kinds = [type(r.body).__name__ for r in control.site("one").reports]
        assert kinds[-3:] == ["CheckpointCompleted", "CheckpointCompleted", "AttemptEnded"]


async def test_checkpoints_are_told_once_over_a_restart_of_the_agent(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites, "one")
        run = SAVE + "save s1; while [ ! -e go ]; do sleep 0.05; done; save s2; sleep 1000"
        await control.command("one", launch("a.1", checkpoint=CheckpointRule()), text(run))
        await control.report("one", CheckpointCompleted)
        site.kill()
        (site.dir / "attempts/a.1/work/go").touch()
        site.start()
        await control.until(lambda: len(control.site("one").bodies(CheckpointCompleted)) == 2)
        await asyncio.sleep(0.6)
        assert [b.name for b in control.site("one").bodies(CheckpointCompleted)] == ["s1", "s2"]


async def test_a_checkpoint_and_an_end_while_no_agent_is_there_both_count(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites, "one")
        run = SAVE + "while [ ! -e go ]; do sleep 0.05; done; save s1; exit 4"
        await control.command("one", launch("a.1", checkpoint=CheckpointRule()), text(run))
        await control.report("one", AttemptStarted)
        site.kill()
        (site.dir / "attempts/a.1/work/go").touch()
        async with asyncio.timeout(20):
            while not (site.dir / "attempts/a.1/exit.json").exists():
                await asyncio.sleep(0.02)
        site.start()
        assert (await control.report("one", AttemptEnded)).reason.found == 4
        assert [b.name for b in control.site("one").bodies(CheckpointCompleted)] == ["s1"]


async def test_what_a_crash_left_in_the_store_is_removed(sites: Make, tmp_path: Path) -> None:
    async with FakeControl() as control:
        site = sites("one", control.address)
        (tmp_path / "x").mkdir()
        (site.dir / "objects").mkdir()
        stray, _ = tree.keep(tmp_path / "x", site.dir / "objects")
        (site.dir / "objects/.part-zzz").mkdir()
        site.start()
        await control.report("one", CapacityReported)
        assert list((site.dir / "objects").iterdir()) == []
        assert stray in site.log()


async def test_a_dataset_is_adopted_moved_used_and_dropped(sites: Make, tmp_path: Path) -> None:
    async with FakeControl() as control:
        await joined(control, sites, "one")
        two = await joined(control, sites, "two")
        place = tmp_path / "corpus"
        place.mkdir()
        (place / "a.txt").write_text("some words\n")
        name = DatasetName("corpus-ja")
        await control.command("one", Adopt(name, 1, TextRef("t")), DatasetText(str(place)))
        adopted = await control.report("one", DatasetAdopted)
        assert adopted.size_bytes == 11
        (place / "a.txt").write_text("changed afterwards")
        used = launch("a.1", inputs=(Input(name, 1, adopted.manifest),))
        await control.command("two", used, text("cat $MOYAI_DATA_CORPUS_JA/a.txt"))
        await control.command("two", Fetch(TransferId("t1"), adopted.manifest, SiteName("one"), 11, 10**6, 0))
        await control.report("two", AttemptEnded)
        assert two.output("a.1") == "some words\n"
        await control.command("two", Drop(adopted.manifest))
        await control.report("two", ReplicaDropped)
        assert not (two.dir / "objects" / adopted.manifest).exists()
        headers, _ = await control.ask("two", AskKind.FILE, adopted.manifest, file=0)
        assert headers["x-moyai-status"] == "gone"
        headers, data = await control.ask("one", AskKind.FILE, adopted.manifest, file=0, offset=5, limit=5)
        assert (data, headers["x-moyai-eof"], headers["x-moyai-total"]) == (b"words", "0", "11")
        headers, _ = await control.ask("one", AskKind.FILE, adopted.manifest, file=7)
        assert headers["x-moyai-status"] == "error"


async def test_what_can_not_be_adopted_or_fetched_is_said(sites: Make) -> None:
    async with FakeControl() as control:
        await joined(control, sites, "one")
        await control.command("one", Adopt(DatasetName("d"), 1, TextRef("t")), DatasetText("/nowhere/at/all"))
        assert "/nowhere/at/all is not there" in (await control.report("one", DatasetRejected)).detail
        await control.command("one", Fetch(TransferId("t1"), ManifestId("0" * 64), SiteName("one"), 5, 10**6, 0))
        ended = await control.report("one", TransferEnded)
        assert (ended.stored, ended.moved_bytes) == (False, 0)
        assert "one has not got it" in ended.detail


async def test_code_travels_with_the_job(sites: Make) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo("hello.sh")
        info.size, info.mode = 10, 0o755
        tar.addfile(info, io.BytesIO(b"echo hello"))
    packed = zstandard.compress(raw.getvalue())
    blob = BlobId(blake3(packed).hexdigest())
    async with FakeControl() as control:
        site = await joined(control, sites, "one")
        control.blobs[blob] = packed
        await control.command("one", launch("a.1", workdir=blob), text("bash hello.sh"))
        await control.report("one", AttemptEnded)
        assert site.output("a.1") == "hello\n"
        await control.command("one", launch("b.1", workdir=BlobId("0" * 64)), text("bash hello.sh"))
        ended = await control.report("one", AttemptEnded, "b.1")
        assert (ended.outcome, ended.reason.code) == (Outcome.FAILED, Code.LAUNCH_FAILED)
        assert "its working directory can't be had" in ended.reason.detail


async def test_a_job_that_can_not_be_prepared_fails_with_words(sites: Make, tmp_path: Path) -> None:
    async with FakeControl() as control:
        await joined(control, sites, "one")
        (tmp_path / "d").mkdir()
        await control.command("one", Adopt(DatasetName("d"), 1, TextRef("t")), DatasetText(str(tmp_path / "d")))
        manifest = (await control.report("one", DatasetAdopted)).manifest
        used = launch("a.1", inputs=(Input(DatasetName("d"), 1, manifest),))
        await control.command("one", used, text("true", mounts=(("d", "../out"),)))
        ended = await control.report("one", AttemptEnded)
        assert (ended.reason.code, ended.started_at) == (Code.LAUNCH_FAILED, 0)
        assert "leads out of the working directory" in ended.reason.detail
        assert control.site("one").bodies(AttemptStarted) == []


async def test_only_complete_directories_are_checkpoints_and_bad_ones_are_passed_over(tmp_path: Path) -> None:
    place, objects = tmp_path / "ckpt", tmp_path / "objects"
    objects.mkdir()
    found: list[Found] = []

    async def report(one: Found) -> bool:
        found.append(one)
        return True

    watcher = Watcher(objects, report)
    watcher.watch(AttemptId("a.1"), place, boot_us(), {"restored"})
    for name in ("restored", "half", "bad", "good", ".hidden"):
        (place / name).mkdir(parents=True)
        (place / name / "w").write_text(name)
    for name in ("restored", "bad", "good", ".hidden"):
        (place / name / ".complete").touch()
    (place / "bad/link").symlink_to("/etc/hostname")
    (place / "file").touch()
    await watcher.over(AttemptId("a.1"))
    await watcher.over(AttemptId("a.1"))
    assert [(f.name, f.size_bytes) for f in found] == [("good", 4)]
    assert sorted(f.path for f in tree.load(objects, found[0].manifest).files) == ["good/.complete", "good/w"]
    assert found[0].run_us >= 0
