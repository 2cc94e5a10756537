"""Code, data, checkpoints and files on their way to machines and back."""

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import zstandard
from blake3 import blake3

from agent.fake_control import FakeControl
from agent.site import launch, text
from agent.test_checkpoints import SAVE
from engines.ssh.machines import TestMachine
from engines.ssh.site import SshSite, joined
from moyai.agent.remote import files
from moyai.data.io import tree
from moyai.model.commands import Adopt, Input, Stop
from moyai.model.events import AttemptEnded, CheckpointCompleted, DatasetAdopted, FileStored, Outcome
from moyai.model.ids import AttemptId, BlobId, DatasetName, TextRef
from moyai.model.reasons import Code, Reason
from moyai.model.workload import CheckpointRule, DatasetText

Machines = Callable[[int], list[TestMachine]]
MakeSite = Callable[..., SshSite]


def code(control: FakeControl, name: str, content: bytes) -> BlobId:
    """An archive with one file, which the control plane has."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o755
        tar.addfile(info, io.BytesIO(content))
    packed = zstandard.compress(raw.getvalue())
    blob = BlobId(blake3(packed).hexdigest())
    control.blobs[blob] = packed
    return blob


async def adopted(control: FakeControl, place: Path) -> Input:
    """A dataset of what lies at `place`, kept at the site."""
    await control.command("tokyo", Adopt(DatasetName("corpus"), 1, TextRef("t")), DatasetText(str(place)))
    return Input(DatasetName("corpus"), 1, (await control.report("tokyo", DatasetAdopted)).manifest)


async def test_code_and_data_go_to_the_machine_once(machines: Machines, site: MakeSite, tmp_path: Path) -> None:
    (tmp_path / "corpus/sub").mkdir(parents=True)
    (tmp_path / "corpus/sub/a.txt").write_text("some words\n")
    async with FakeControl() as control:
        made = machines(1)
        one = await joined(control, site(control.address, made), 1)
        use = await adopted(control, tmp_path / "corpus")
        blob = code(control, "run.sh", b"cat in/sub/a.txt; cat $MOYAI_DATA_CORPUS/sub/a.txt")
        words = text("bash run.sh; echo x >> in/sub/a.txt", mounts=(("corpus", "in"),))
        await control.command("tokyo", launch("a.1", workdir=blob, inputs=(use,)), words)
        await control.report("tokyo", AttemptEnded, "a.1")
        assert one.output("a.1").startswith("some words\nsome words\n")
        object_, archive = made[0].site / "objects" / use.manifest, made[0].site / "blobs" / f"{blob}.tar"
        assert (object_ / "sub/a.txt").stat().st_mode & 0o222 == 0
        before = object_.stat().st_ino, archive.stat().st_ino
        await control.command("tokyo", launch("b.1", workdir=blob, inputs=(use,)), words)
        await control.report("tokyo", AttemptEnded, "b.1")
        assert (object_.stat().st_ino, archive.stat().st_ino) == before


async def test_what_can_not_be_prepared_fails_with_words(machines: Machines, site: MakeSite, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    async with FakeControl() as control:
        await joined(control, site(control.address, machines(1)), 1)
        use = await adopted(control, tmp_path / "corpus")
        for number, (path, said) in enumerate((("/data", "no mounts"), ("../out", "leads out"))):
            words = text("true", mounts=(("corpus", path),))
            await control.command("tokyo", launch(f"a{number}.1", inputs=(use,)), words)
            ended = await control.report("tokyo", AttemptEnded, f"a{number}.1")
            assert (ended.reason.code, said in ended.reason.detail) == (Code.LAUNCH_FAILED, True), ended.reason


async def test_a_checkpoint_comes_back_and_is_resumed_on_another_machine(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        made = machines(2)
        one = await joined(control, site(control.address, made), 2)
        rule = CheckpointRule()
        run = SAVE + "save s1; sleep 0.6; save s2; sleep 0.6; save s3; sleep 1000"
        await control.command("tokyo", launch("a.1", checkpoint=rule, covered_us=1_000), text(run))
        await control.until(lambda: len(control.site("tokyo").bodies(CheckpointCompleted)) == 3)
        done = control.site("tokyo").bodies(CheckpointCompleted)
        assert [b.name for b in done] == ["s1", "s2", "s3"]
        assert tree.load(one.dir / "objects", done[2].manifest).size_bytes == len("state s3\n")
        assert 1_000_000 < done[2].covered_us < 600_000_000
        assert one.ckpt("a.1") == ["s2", "s3"]
        await control.command("tokyo", Stop(AttemptId("a.1"), Reason(Code.MIGRATED)))
        await control.report("tokyo", AttemptEnded, "a.1")
        again = launch("a.2", checkpoint=rule, restore=done[2].manifest)
        other = replace(again, nodes=(1,))
        run = SAVE + "cat ck/s3/w; ls ck; echo $MOYAI_RESTORED $HOME; echo more > ck/s3/w; save s4"
        await control.command("tokyo", other, text(run, checkpoint_path="ck"))
        await control.report("tokyo", AttemptEnded, "a.2")
        assert one.output("a.2") == f"state s3\ns3\n1 {made[1].home}\n"
        assert [b.name for b in control.site("tokyo").bodies(CheckpointCompleted)] == ["s1", "s2", "s3", "s4"]


async def test_a_checkpoint_at_the_very_end_counts_and_shards_of_a_gang_are_one(
    machines: Machines, site: MakeSite
) -> None:
    async with FakeControl() as control:
        one = await joined(control, site(control.address, machines(2)), 2)
        run = """
        mkdir -p $MOYAI_CHECKPOINT/s1; echo $MOYAI_RANK > $MOYAI_CHECKPOINT/s1/shard-$MOYAI_RANK
        [ $MOYAI_RANK = 0 ] && sleep 1 && touch $MOYAI_CHECKPOINT/s1/.complete; exit 0"""
        await control.command("tokyo", launch("g.1", nodes=2, checkpoint=CheckpointRule()), text(run))
        await control.report("tokyo", AttemptEnded)
        kinds = [type(r.body).__name__ for r in control.site("tokyo").reports]
        assert kinds[-2:] == ["CheckpointCompleted", "AttemptEnded"]
        held = tree.load(one.dir / "objects", control.site("tokyo").bodies(CheckpointCompleted)[0].manifest)
        assert sorted(f.path for f in held.files) == ["s1/.complete", "s1/shard-0", "s1/shard-1"]


async def test_files_of_a_task_are_kept(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        one = await joined(control, site(control.address, machines(1)), 1)
        base = launch("t.1")
        task = replace(base, files=("result", "tables"))
        words = text(
            "mkdir -p out/t; echo 42 > out/r.txt; echo 1 > out/t/1",
            files=(("result", "out/r.txt"), ("tables", "out/t")),
        )
        await control.command("tokyo", task, words)
        assert (await control.report("tokyo", AttemptEnded)).outcome is Outcome.SUCCEEDED
        stored = {b.file: b.manifest for b in control.site("tokyo").bodies(FileStored)}
        assert [f.path for f in tree.load(one.dir / "objects", stored["result"]).files] == ["r.txt"]
        assert [f.path for f in tree.load(one.dir / "objects", stored["tables"]).files] == ["1"]
        missing = replace(base, attempt=AttemptId("u.1"), files=("result",))
        await control.command("tokyo", missing, text("true", files=(("result", "out/r.txt"),)))
        ended = await control.report("tokyo", AttemptEnded, "u.1")
        assert (ended.outcome, ended.reason.code) == (Outcome.FAILED, Code.NO_OUTPUT)


def test_what_was_used_longest_ago_goes_first_and_what_is_wanted_stays(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "wanted", "new")):
        place = tmp_path / "objects" / name
        place.mkdir(parents=True)
        (place / "x").write_bytes(b"." * 100)
        (tmp_path / "blobs").mkdir(exist_ok=True)
        os.utime(place, (number, number))
    (tmp_path / "objects/.part-x-999999999").mkdir()
    assert files.tidy(tmp_path, ["wanted"], 250) == ["old"]
    assert files.tidy(tmp_path, ["wanted"], 0) == ["new"]
    assert [entry.name for entry in files.entries(tmp_path / "objects")] == ["wanted"]


async def test_the_gang_of_the_federation_trains_over_machines(machines: Machines, site: MakeSite) -> None:
    program = Path(__file__).parents[3] / "examples/federation/train/train_gang.py"
    async with FakeControl() as control:
        one = await joined(control, site(control.address, machines(2)), 2)
        blob = code(control, "train_gang.py", program.read_bytes())
        words = text("python3 train_gang.py", env=(("PLAIN", "1"), ("STEPS", "200"), ("EVERY", "100")))
        gang = launch("g.1", nodes=2, workdir=blob, checkpoint=CheckpointRule())
        await control.command("tokyo", gang, words)
        assert (await control.report("tokyo", AttemptEnded)).outcome is Outcome.SUCCEEDED, one.output("g.1", 1)
        assert "2 ranks by sockets" in one.output("g.1")
        done = control.site("tokyo").bodies(CheckpointCompleted)
        assert [b.name for b in done] == ["step-000100", "step-000200"]
        again = launch("g.2", nodes=2, workdir=blob, checkpoint=CheckpointRule(), restore=done[0].manifest)
        await control.command("tokyo", again, words)
        assert (await control.report("tokyo", AttemptEnded, "g.2")).outcome is Outcome.SUCCEEDED
        assert "resumed from step-000100" in one.output("g.2")
        assert one.output("g.2").splitlines()[-2:] == one.output("g.1").splitlines()[-2:]
