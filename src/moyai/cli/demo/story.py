"""The demo: three real sites on this machine, nine real jobs, the loss of a site, and the bill."""

import random
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from moyai.cli.demo import catastrophe
from moyai.cli.demo.facts import DATASET_HOME, Seen
from moyai.cli.demo.screen import Screen
from moyai.client import Client, Job, JobHandle, MoyaiError, Piece
from moyai.locale import t
from moyai.model.events import Signal
from moyai.model.lifecycle import JOB_ENDED, JobState
from moyai.model.units import MICRO_YEN
from moyai.model.views import DatasetState, JobView

WORK = Path(__file__).parent / "work"
STEPS = 10_000
TRAIN_DEADLINE_S = 75
POLL_S = 0.25
LONGEST_S = 120.0
SHORTS: tuple[tuple[str, float, int], ...] = (
    ("short-1", 9.0, 1),
    ("short-2", 4.0, 1),
    ("short-3", 4.0, 1),
    ("wide-4", 3.0, 2),
    ("short-5", 2.0, 1),
    ("short-6", 2.0, 1),
)
"""(name, seconds, nodes). The gang has to wait for two free nodes at one site: the fifth fits in before it.
The sixth is planned for tokyo, whose price then rises."""
DEAR_SITE = "tokyo"
DEAR_YEN_PER_KWH = 250


@dataclass(slots=True)
class Story:
    """What is under way, and what was seen of it."""

    home: Path
    screen: Screen
    train: JobHandle
    count: JobHandle
    shorts: list[JobHandle]
    losses: list[float] = field(default_factory=list[float])
    first_sites: dict[str, str] = field(default_factory=dict[str, str])
    told: dict[str, str] = field(default_factory=dict[str, str])
    lost_site: str = ""
    dear: bool = False

    def watch(self) -> bool:
        """Tell what changed; note where waiting jobs are planned to go. True while anything is under way."""
        busy = False
        for handle in (self.train, self.count, *self.shorts):
            view = handle.view()
            busy |= view.state not in JOB_ENDED
            place = view.site
            if view.state is JobState.PENDING:
                said = handle.why()
                place = said.site
                self.screen.waits(view, said, self._new(view, f"waits {place} {said.reason.code}"))
            else:
                attempt = view.attempts[-1]
                self.screen.moved(view, self._new(view, f"{attempt.attempt} {attempt.state} {view.state}"))
            if place:
                self.first_sites.setdefault(view.job, place)
        return busy

    def _new(self, view: JobView, what: str) -> bool:
        if self.told.get(view.job) == what:
            return False
        self.told[view.job] = what
        return True

    def follow_training(self) -> None:
        """Show the training's output as it comes, over all its attempts. Runs in a thread of its own."""
        rest = ""
        with Client(self.home, start=False) as client:
            for seen in client.job(self.train.id).follow(since=1):
                if not isinstance(seen, Piece):
                    continue
                rest += seen.data.decode("utf-8", "replace")
                *lines, rest = rest.split("\n")
                for line in lines:
                    self.screen.output("train", line)
                    if found := re.search(r"step +\d+ +loss ([0-9.]+)", line):
                        self.losses.append(float(found[1]))

    def ready_to_lose(self) -> str:
        """The site that trains, once a checkpoint of it is safe and nothing else waits any more; "" before."""
        view = self.train.view()
        if view.state is not JobState.ACTIVE or not self.shorts[-1].view().site:
            return ""
        return view.site if any(c.safe for c in view.checkpoints) else ""


def make_records(folder: Path) -> Path:
    """A small made-up dataset: who called about what."""
    folder.mkdir(parents=True)
    draw = random.Random(40)  # noqa: S311 – made-up data, the same each time
    topics = ("billing", "contract", "fault", "moving", "thanks")
    rows = [f"{n},{draw.choice(topics)}" for n in range(500)]
    (folder / "records.csv").write_text("caller,topic\n" + "\n".join(rows) + "\n", "utf-8")
    return folder


def begin(client: Client, home: Path, screen: Screen) -> Story:
    """Register the dataset and submit all nine jobs."""
    records = make_records(home / "records")
    client.add_dataset("records-kyushu", records, site=DATASET_HOME, residency=["JP-40"], purposes=["statistics"])
    _until(lambda: any(d.state is DatasetState.READY for d in client.datasets()), 10, "the dataset is ready")
    python = sys.executable
    train = client.run(
        Job(
            [python, "train.py", "--steps", str(STEPS), "--every", "400"],
            name="train",
            workdir=WORK,
            cpus=1,
            deadline=f"{TRAIN_DEADLINE_S}s",
            expect="30s",
            checkpoint={"grace": "2s"},
            env={"OPENBLAS_NUM_THREADS": "1"},
        )
    )
    count = client.run(
        Job(
            [python, "count.py"],
            name="count",
            workdir=WORK,
            cpus=1,
            expect="1s",
            data=[{"dataset": "records-kyushu", "purpose": "statistics"}],
        )
    )
    shorts = [
        client.run(
            Job([python, "short.py", str(s)], name=name, workdir=WORK, cpus=1, nodes=nodes, expect=f"{s + 1:g}s")
        )
        for name, s, nodes in SHORTS
    ]
    return Story(client.home, screen, train, count, shorts)


def live(client: Client, story: Story) -> Seen:
    """Watch to the end; in the middle, lose the site that trains. Raises MoyaiError "timeout"."""
    screen = story.screen
    follower = threading.Thread(target=story.follow_training, daemon=True)
    follower.start()
    begun = time.monotonic()
    while story.watch():
        if not story.dear and story.first_sites.get(story.shorts[-1].id) == DEAR_SITE:
            story.dear = True
            client.change_signal(DEAR_SITE, Signal.PRICE, DEAR_YEN_PER_KWH * MICRO_YEN)
            screen.line(DEAR_SITE, t("demo.dear", site=DEAR_SITE, price=DEAR_YEN_PER_KWH * MICRO_YEN), "yellow")
        if not story.lost_site and (site := story.ready_to_lose()):
            screen.disaster(site, catastrophe.destroy(story.home, site))
            story.lost_site = site
        if time.monotonic() - begun > LONGEST_S:
            raise MoyaiError("timeout", f"the demo's jobs did not end within {LONGEST_S:.0f} s")
        time.sleep(POLL_S)
    story.watch()
    follower.join(5)
    return Seen(
        train=story.train.view(),
        count=story.count.view(),
        count_why=story.count.why(),
        shorts=tuple(s.view() for s in story.shorts),
        short_whys=tuple(s.why() for s in story.shorts),
        first_sites=story.first_sites,
        losses=tuple(story.losses),
        lost_site=story.lost_site,
        log_problem="",
        events=0,
    )


def _until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise MoyaiError("timeout", f"not within {seconds:g} s: {what}")
        time.sleep(0.05)
