"""What the demo shows: one line for each thing that happens, and the closing tables."""

import os
import time
from collections.abc import Sequence
from threading import Lock

from rich.text import Text

from moyai.cli.demo.facts import Seen
from moyai.cli.output import console, table
from moyai.locale import Language, language, reason_text, t
from moyai.locale.figures import kg, kwh, size, span, yen
from moyai.model.lifecycle import JOB_ENDED, AttemptState, JobState
from moyai.model.reasons import Code, Considered
from moyai.model.views import JobView, WhyView

_STYLES = {JobState.SUCCEEDED: "green", JobState.FAILED: "red", JobState.CANCELLED: "yellow"}


class Screen:
    """Lines on the terminal, each with the seconds since the start. Two threads write to it."""

    def __init__(self, err: bool) -> None:
        """Write to stderr where `err`, else to stdout."""
        self._err = err
        self._console = console(err)
        self._begun = time.monotonic()
        self._lock = Lock()
        self._lang: Language = language(os.environ)

    def line(self, name: str, text: str, style: str = "") -> None:
        """One thing that happened to `name`."""
        with self._lock:
            passed = f"{time.monotonic() - self._begun:5.1f} s  "
            self._console.print(Text(passed, "dim") + Text(f"{name:<8}  ", "bold") + Text(text, style))

    def title(self, key: str, **figures: object) -> None:
        """A heading of the story."""
        with self._lock:
            self._console.print(Text(f"\n{t(key, **figures)}", "bold cyan"))

    def output(self, name: str, text: str) -> None:
        """A line that a job printed."""
        self.line(name, f"│ {text}", "cyan")

    def waits(self, view: JobView, why: WhyView, new: bool) -> None:
        """A waiting job, and where it is planned to go."""
        if new:
            place = f"{why.site}: " if why.site else ""
            self.line(view.name, t("demo.waits", reason=place + reason_text(why.reason, self._lang)), "yellow")

    def moved(self, view: JobView, new: bool) -> None:
        """A job that was placed, started, was lost or ended."""
        if not new:
            return
        attempt = view.attempts[-1]
        if view.state in JOB_ENDED:
            reason = reason_text(view.reason, self._lang) if view.reason else ""
            self.line(view.name, t("demo.ended", state=t(f"job.{view.state}"), reason=reason), _STYLES[view.state])
        elif attempt.state is AttemptState.ISSUED:
            self.line(view.name, t("demo.placed", site=attempt.site))
        elif attempt.state is AttemptState.RUNNING:
            resumed = t("demo.resumed", covered=attempt.covered_us) if attempt.restore else ""
            self.line(view.name, t("demo.started", site=attempt.site) + resumed)

    def disaster(self, site: str, killed: int) -> None:
        """The site that is lost."""
        self.line(site, t("demo.disaster", site=site, killed=killed), "bold white on red")

    def why(self, view: WhyView) -> None:
        """The reasons table of a job."""
        rows = [self._row(row) for row in view.considered]
        heads = ["site", "verdict", "cost", "energy", "carbon"]
        table([t(f"demo.head.{h}") for h in heads], rows, right=(2, 3, 4), fold=(1,), err=self._err)

    def _row(self, row: Considered) -> Sequence[str]:
        verdict = ("✔ " if row.reason.code is Code.CHOSEN else "") + reason_text(row.reason, self._lang)
        if not row.feasible:
            return (row.site, "✘ " + verdict, "", "", "")
        return (row.site, verdict, yen(row.cost_micro_yen, self._lang), kwh(row.energy_j), kg(row.carbon_mg))

    def closing(self, seen: Seen) -> None:
        """A row for each job: where, how long, and what it took."""
        heads = ["job", "sites", "wait", "run", "deadline", "cost", "energy", "carbon", "moved"]
        rows = [self._closing_row(view) for view in (seen.train, seen.count, *seen.shorts)]
        table([t(f"demo.head.{h}") for h in heads], rows, right=(2, 3, 5, 6, 7, 8), fold=(1,), err=self._err)

    def _closing_row(self, view: JobView) -> Sequence[str]:
        kept = {True: "✔", False: "✘", None: "–"}[view.deadline_kept]
        sites = " → ".join(f"{a.site}{'†' if a.state is AttemptState.LOST else ''}" for a in view.attempts)
        return (
            view.name,
            sites,
            span(view.wait_us, self._lang),
            span(view.run_us, self._lang),
            kept,
            yen(view.cost_micro_yen, self._lang),
            kwh(view.energy_j),
            kg(view.carbon_mg),
            size(view.moved_bytes),
        )

    def facts(self, held: Sequence[tuple[str, bool]]) -> None:
        """Each fact, and whether it is true."""
        with self._lock:
            for key, true in held:
                mark = Text("✔ ", "green") if true else Text("✘ ", "bold red")
                self._console.print(mark + Text(t(f"demo.fact.{key}")))
