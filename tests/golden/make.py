"""Writes the golden log of a release: one event of every kind, plausible values, the same bytes on every run.

    python tests/golden/make.py 0.3.0

A golden log that was released is never written again: a new kind or a new version of one goes into the file of the
next release. `--unreleased` replaces the file of a release that is still in the making.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from moyai.model.envelope import GENESIS, Draft, Origin, Record, seal
from moyai.model.events import (
    AttemptEnded,
    AttemptIssued,
    AttemptLost,
    AttemptStarted,
    AttemptStopRequested,
    CapacityReported,
    CertificateIssued,
    CertificateRevoked,
    CheckpointCompleted,
    ControlStarted,
    DatasetAdopted,
    DatasetRegistered,
    DatasetRejected,
    EventBody,
    FileStored,
    JobCancelRequested,
    JobEnded,
    JobRequeued,
    JobSubmitted,
    JoinTokenIssued,
    JoinTokenRevoked,
    JoinTokenSpent,
    LinkDeclared,
    Outcome,
    Placement,
    ReplicaDropped,
    ReplicaDropRequested,
    ReportRefused,
    Signal,
    SignalChanged,
    SiteDeclared,
    SiteDrainChanged,
    SiteJoined,
    SiteLost,
    TransferEnded,
    TransferIssued,
    WorkflowCancelRequested,
    WorkflowEnded,
    WorkflowSubmitted,
)
from moyai.model.ids import (
    AttemptId,
    BlobId,
    DatasetName,
    FlavorName,
    JobId,
    ManifestId,
    NodeName,
    ProjectName,
    SiteName,
    TenantName,
    TextRef,
    attempt_id,
    job_id,
    transfer_id,
)
from moyai.model.lifecycle import JobState, WorkflowState
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.units import Instant
from moyai.model.workflow import FILE_VERSION, File, Task, file_dataset, task_job_id, workflow_id
from moyai.model.workload import CheckpointRule, DatasetProfile, DataUse, JobOrder, Need, OnPartition

HERE = Path(__file__).parent
HEADS = HERE / "heads.json"
"""file → [events, hash of the last one]: what a released golden log must stay."""

START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
SECOND = 1_000_000
TENANT, PROJECT, PERSON = TenantName("lab"), ProjectName("語彙"), "uid:1000"
ISHIKARI, TOKYO, FUKUOKA = SiteName("ishikari"), SiteName("tokyo"), SiteName("fukuoka")
GPU, CPU = FlavorName("gpu"), FlavorName("cpu")
CORPUS = DatasetName("corpus")
CHECKPOINT, TREE = ManifestId("c4" * 32), ManifestId("da" * 32)


def _site(name: SiteName, code: str, price: int, carbon: int) -> SiteProfile:
    flavors = (
        Flavor(GPU, 2, 32, 256 << 30, "H100", 8, 900, 6_500, 2_400_000_000),
        Flavor(CPU, 8, 64, 128 << 30, idle_w=120, peak_w=450),
    )
    return SiteProfile(name, "host", code, 43_173_000, 141_315_000, flavors, price, carbon, 1_120, 40_000, True)


def _placement(site: SiteName, at: int) -> Placement:
    considered = (
        Considered(FUKUOKA, "", False, Reason(Code.RESIDENCY, "corpus", "JP-01, JP-13")),
        Considered(ISHIKARI, GPU, True, Reason(Code.CHOSEN), at, at + 900 * SECOND, 31_250_000, 1_625, 406_250, 0),
        Considered(
            TOKYO, GPU, True, Reason(Code.DEARER, found=9_875_000), at, at + 900 * SECOND, 41_125_000, 1_625, 747_500
        ),
    )
    return Placement(
        site, GPU, (0, 1), Instant(at), Instant(at + 900 * SECOND), 7_280, 31_250_000, 1_625, 406_250, considered
    )


def drafts() -> list[Draft]:
    """Every kind of event that version 0.3.0 knows, in an order in which they might have happened."""
    made: list[Draft] = []

    def outside(body: EventBody, request: str = "", cause: int = 0) -> None:
        made.append(Draft(body, Origin.OUTSIDE, TENANT, PROJECT, PERSON, request, cause))

    def reported(body: EventBody, site: SiteName, number: int) -> None:
        request = f"{site}/9f2c/{number}"
        at = Instant(START + len(made) * SECOND - 250_000)
        made.append(Draft(body, Origin.OUTSIDE, actor=f"site:{site}", request=request, reported_at=at))

    def decided(body: EventBody, cause: int = 0) -> None:
        made.append(Draft(body, Origin.DECIDED, TENANT, PROJECT, cause=cause))

    made.append(Draft(ControlStarted(1, "0.1.0"), Origin.OUTSIDE))
    outside(SiteDeclared(_site(ISHIKARI, "JP-01", 18_000_000, 250_000)))
    outside(SiteDeclared(_site(TOKYO, "JP-13", 24_500_000, 460_000)))
    outside(LinkDeclared(Link(ISHIKARI, TOKYO, 125_000_000, 17_000, 9_000_000)))
    outside(SignalChanged(ISHIKARI, Signal.CARBON, 231_000))
    outside(SiteDrainChanged(FUKUOKA, True))
    made.append(Draft(SiteJoined(ISHIKARI, "9f2c", 1, ("guard", "memory-limit")), Origin.OUTSIDE, request="hello"))
    reported(CapacityReported(ISHIKARI, _site(ISHIKARI, "JP-01", 0, 0).flavors), ISHIKARI, 1)
    outside(
        DatasetRegistered(DatasetProfile(CORPUS, 1, ("JP-01", "JP-13"), ("training",)), ISHIKARI, TextRef("1a" * 32))
    )
    reported(DatasetAdopted(CORPUS, 1, ISHIKARI, TREE, 48_234_496), ISHIKARI, 2)
    reported(
        DatasetRejected(DatasetName("photos"), 1, ISHIKARI, "no such directory: \u201c/data/写真\u201d\n"), ISHIKARI, 3
    )
    job = job_id(TENANT, PROJECT, "train", "7d0e")
    order = JobOrder(
        "train",
        Need(16, 64 << 30, "H100", 8),
        2,
        10,
        Instant(START + 7_200 * SECOND),
        900 * SECOND,
        3_600 * SECOND,
        3,
        ("JP",),
        (DataUse(CORPUS, 1, "training"),),
        CheckpointRule(),
        OnPartition.WAIT,
        10 * SECOND,
        BlobId("b0" * 32),
        4_096,
    )
    outside(JobSubmitted(job, order, TextRef("2b" * 32)), "7d0e")
    first, second = attempt_id(job, 1), attempt_id(job, 2)
    decided(AttemptIssued(first, _placement(ISHIKARI, START + 20 * SECOND), 1, None, 0), cause=-1)
    reported(AttemptStarted(first, Instant(START + 21 * SECOND), (NodeName("gpu-0"), NodeName("gpu-1"))), ISHIKARI, 4)
    reported(CheckpointCompleted(first, "step-000200", CHECKPOINT, 52_428_800, 300 * SECOND), ISHIKARI, 5)
    move = transfer_id(CHECKPOINT, TOKYO, 1)
    decided(TransferIssued(move, CHECKPOINT, ISHIKARI, TOKYO, 52_428_800, 125_000_000, 17_000))
    reported(TransferEnded(move, True, 52_428_800, 436_431, ""), TOKYO, 1)
    decided(AttemptStopRequested(first, Reason(Code.PREEMPTED, "urgent-0123456789")))
    decided(SiteLost(ISHIKARI, 1, False))
    decided(AttemptLost(first, Reason(Code.SITE_LOST, ISHIKARI)), cause=-1)
    decided(JobRequeued(job, Instant(START + 60 * SECOND), Reason(Code.SITE_LOST, ISHIKARI), False), cause=-1)
    decided(AttemptIssued(second, _placement(TOKYO, START + 60 * SECOND), 1, CHECKPOINT, 300 * SECOND))
    ended = AttemptEnded(
        second,
        Outcome.SUCCEEDED,
        Reason(Code.EXIT, found=0),
        Instant(START + 61 * SECOND),
        Instant(START + 661 * SECOND),
        600 * SECOND,
        18_400 * SECOND,
        1_083,
        True,
        123_456,
    )
    reported(ended, TOKYO, 2)
    decided(JobEnded(job, JobState.SUCCEEDED, Reason(Code.EXIT, found=0)), cause=-1)
    outside(JobCancelRequested(JobId("sweep-00ff00ff00")), "c1")
    decided(ReplicaDropRequested(CHECKPOINT, TOKYO))
    reported(ReplicaDropped(CHECKPOINT, TOKYO), TOKYO, 3)
    flow = workflow_id(TENANT, PROJECT, "count-words", "5e1f")
    split, count = (task_job_id(TENANT, PROJECT, name, "5e1f") for name in ("split", "count"))
    parts = File("parts", file_dataset(flow, "parts"), ("JP-01", "JP-13"), keep=False)
    tasks = (Task("split", split, (), (), (parts,)), Task("count", count, ("split",), ("parts",), ()))
    outside(WorkflowSubmitted(flow, "count-words", tasks), "5e1f")
    outside(
        JobSubmitted(split, JobOrder("split", Need(1), data=(DataUse(CORPUS, 1, "training"),)), TextRef("3c" * 32)),
        "5e1f/split",
    )
    outside(
        JobSubmitted(
            count, JobOrder("count", Need(2), data=(DataUse(parts.dataset, FILE_VERSION),)), TextRef("4d" * 32)
        ),
        "5e1f/count",
    )
    first = attempt_id(split, 1)
    decided(AttemptIssued(first, _placement(TOKYO, START + 700 * SECOND), 1, None, 0))
    reported(FileStored(first, "parts", ManifestId("fe" * 32), 1_048_576), TOKYO, 4)
    outside(WorkflowCancelRequested(flow), "c2")
    decided(JobEnded(count, JobState.CANCELLED, Reason(Code.UPSTREAM, "split")))
    decided(WorkflowEnded(flow, WorkflowState.CANCELLED, Reason(Code.CANCELLED, PERSON)))
    stray = AttemptId("train-ffffffffff.1")
    made.append(Draft(ReportRefused(TOKYO, "AttemptStarted", Reason(Code.UNKNOWN_ATTEMPT, stray)), Origin.DECIDED))
    osaka, key = SiteName("osaka"), "6b" * 32
    serials = ("4a" * 16, "4b" * 16)
    outside(JoinTokenIssued("70" * 32, osaka, Instant(START + 3_600 * SECOND)))
    outside(JoinTokenIssued("71" * 32, osaka, Instant(START + 3_600 * SECOND)))
    made.append(Draft(JoinTokenSpent("70" * 32, osaka, key, serials[0]), Origin.OUTSIDE, actor="site:osaka"))
    made.append(Draft(SiteDeclared(_site(osaka, "JP-27", 25_000_000, 430_000)), Origin.OUTSIDE, actor="site:osaka"))
    for serial, holder, begin in ((serials[0], key, 800), (serials[1], "6c" * 32, 900)):
        begins_at, ends_at = Instant(START + (begin - 300) * SECOND), Instant(START + (begin + 777_600) * SECOND)
        issued = CertificateIssued(serial, osaka, holder, begins_at, ends_at)
        made.append(Draft(issued, Origin.OUTSIDE, actor="site:osaka"))
    outside(CertificateRevoked(serials[0], osaka))
    outside(JoinTokenRevoked("71" * 32, osaka))
    return made


def chain() -> list[Record]:
    """The drafts, sealed one second apart."""
    records: list[Record] = []
    prev = GENESIS
    for seq, draft in enumerate(drafts(), 1):
        records.append(seal(draft, seq, prev, Instant(START + seq * SECOND), 1))
        prev = records[-1].hash
    return records


def main() -> int:
    """Writes `<release>.jsonl` and its line in heads.json; 2 where that release has a golden log already."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    parser.add_argument("--unreleased", action="store_true", help="replace a file that was never released")
    args = parser.parse_args()
    path = HERE / f"{args.release}.jsonl"
    heads: dict[str, list[int | str]] = json.loads(HEADS.read_text()) if HEADS.exists() else {}
    if path.exists() and not args.unreleased:
        print(f"{path}: a golden log is never written again; give the next release", file=sys.stderr)
        return 2
    records = chain()
    path.write_bytes(b"".join(record.data + b"\n" for record in records))
    heads[path.name] = [len(records), hashlib.sha256(records[-1].data).hexdigest()]
    HEADS.write_text(json.dumps(heads, indent=2) + "\n")
    print(f"{path}: {len(records)} events")
    return 0


if __name__ == "__main__":
    sys.exit(main())
