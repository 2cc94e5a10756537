"""What lies where before a rank runs."""

import io
import os
import tarfile
from pathlib import Path

import pytest
import zstandard

from agent.site import launch, text
from moyai.agent.engines.host.prepare import CannotPrepare, Host, prepare
from moyai.agent.places import Places
from moyai.agent.workdir import BadArchive
from moyai.data.io.tree import keep
from moyai.model.commands import Input
from moyai.model.ids import BlobId, DatasetName
from moyai.model.workload import CheckpointRule

BLOB = BlobId("b" * 64)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    places = Places(tmp_path / "site")
    for place in (places.attempts, places.objects, places.blobs):
        place.mkdir(parents=True)
    return Host("tokyo", places, "", "/bin/bash", 1000, 1000)


def archive(host: Host, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    host.places.blob(BLOB).write_bytes(zstandard.compress(raw.getvalue()))


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o755
    return info


def dataset(host: Host, tmp_path: Path, name: str) -> Input:
    place = tmp_path / name
    place.mkdir()
    (place / "file").write_text(name)
    return Input(DatasetName(name), 1, keep(place, host.places.objects)[0])


def test_the_order_for_a_plain_job(host: Host) -> None:
    order = prepare(host, launch("a.1", nodes=2, limit_us=5, memory_bytes=9), text("echo hi"))
    assert (order.ranks, order.argv, order.limit_us, order.memory_bytes) == (2, ["/bin/bash", "-c", "echo hi"], 5, 9)
    assert order.cwd == str(host.places.attempts / "a.1/work")
    assert os.listdir(order.cwd) == []
    assert order.env["OMP_NUM_THREADS"] == "1"


def test_code_and_data_lie_where_the_job_looks(host: Host, tmp_path: Path) -> None:
    archive(host, (member("train.py"), b"print()"), (member("sub/run.sh"), b"#!"))
    inputs = (dataset(host, tmp_path, "corpus-ja"), dataset(host, tmp_path, "labels"))
    words = text("x", mounts=(("corpus-ja", "data/in"),))
    order = prepare(host, launch("a.1", workdir=BLOB, inputs=inputs), words)
    work = Path(order.cwd)
    assert (work / "train.py").read_bytes() == b"print()"
    assert (work / "data/in/file").read_text() == "corpus-ja"
    assert order.env["MOYAI_DATA_CORPUS_JA"] == str(work / "data/in")
    assert (Path(order.env["MOYAI_DATA_LABELS"]) / "file").read_text() == "labels"


def test_a_restored_checkpoint_is_all_that_lies_there(host: Host, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "weights").write_text("w")
    (saved / ".complete").touch()
    manifest = keep(saved, host.places.objects, "step-9/")[0]
    order = prepare(host, launch("a.2", checkpoint=CheckpointRule(), restore=manifest), text("x", checkpoint_path="ck"))
    assert order.env["MOYAI_RESTORED"] == "1"
    place = Path(order.env["MOYAI_CHECKPOINT"])
    assert place == Path(order.cwd) / "ck"
    assert os.listdir(place) == ["step-9"]
    (place / "step-9/weights").write_text("changed")


def test_it_starts_from_nothing_each_time(host: Host) -> None:
    order = prepare(host, launch("a.1", checkpoint=CheckpointRule()), text("x"))
    (Path(order.cwd) / "left").touch()
    (Path(order.env["MOYAI_CHECKPOINT"]) / "left").touch()
    again = prepare(host, launch("a.1", checkpoint=CheckpointRule()), text("x"))
    assert os.listdir(again.cwd) == os.listdir(again.env["MOYAI_CHECKPOINT"]) == []


@pytest.mark.parametrize("path", ["../out", "a/../../out", ".", "in/../.."])
def test_paths_that_lead_out_are_refused(host: Host, tmp_path: Path, path: str) -> None:
    inputs = (dataset(host, tmp_path, "d"),)
    with pytest.raises(CannotPrepare, match="leads out"):
        prepare(host, launch("a.1", inputs=inputs), text("x", mounts=(("d", path),)))


def test_a_link_in_the_code_leads_no_data_out(host: Host, tmp_path: Path) -> None:
    archive(host, (member("in", tarfile.SYMTYPE, "."), b""))
    inputs = (dataset(host, tmp_path, "d"),)
    order = prepare(host, launch("a.1", inputs=inputs, workdir=BLOB), text("x", mounts=(("d", "in/d"),)))
    assert (Path(order.cwd) / "d/file").read_text() == "d"


def test_absolute_paths_need_mounts(host: Host, tmp_path: Path) -> None:
    with pytest.raises(CannotPrepare, match="no mounts"):
        prepare(host, launch("a.1", inputs=(dataset(host, tmp_path, "d"),)), text("x", mounts=(("d", "/data"),)))


@pytest.mark.parametrize(
    "bad",
    [
        member("../evil"),
        member("/evil"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.SYMTYPE, "../../.."),
        member("hard", tarfile.LNKTYPE, "../../../etc/passwd"),
        member("dev", tarfile.CHRTYPE),
    ],
)
def test_an_archive_that_would_write_elsewhere_is_refused(host: Host, bad: tarfile.TarInfo) -> None:
    archive(host, (bad, b""))
    if bad.name == "/evil":  # made relative, as tar does
        order = prepare(host, launch("a.1", workdir=BLOB), text("x"))
        assert os.listdir(order.cwd) == ["evil"]
        return
    with pytest.raises(BadArchive):
        prepare(host, launch("a.1", workdir=BLOB), text("x"))
    assert not (host.places.root.parent / "evil").exists()


def test_a_damaged_archive_is_said(host: Host) -> None:
    host.places.blob(BLOB).write_bytes(b"no archive")
    with pytest.raises(BadArchive):
        prepare(host, launch("a.1", workdir=BLOB), text("x"))


def test_an_unknown_signal_is_said(host: Host) -> None:
    with pytest.raises(CannotPrepare, match="no signal 'SIGFOO'"):
        prepare(host, launch("a.1", checkpoint=CheckpointRule(stop_signal="SIGFOO")), text("x"))
