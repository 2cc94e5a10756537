"""A tour of the federation that `up.sh` started: one workload file everywhere, and a gang that moves from Slurm to Ray.

`python examples/federation/tour.py`; it ends with the facts it saw, and exit code 0 only if every one is true.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from moyai import Client
from moyai.client.handle import JobHandle
from moyai.model.lifecycle import AttemptState, JobState
from moyai.model.views import AttemptView, SiteState

HERE = Path(__file__).parent
HOME = Path(os.environ.get("MOYAI_FEDERATION", "/tmp/moyai-federation"))  # noqa: S108 – where `up.sh` put it
SLURM, RAY = "ishikari", "osaka"
WITHIN_S = 120.0


def main() -> int:
    """Take the tour."""
    facts: dict[str, bool] = {}
    with Client(HOME / "control", start=False) as client:
        sites = [s.site for s in client.sites() if s.state is SiteState.JOINED]
        print(f"Sites: {', '.join(sites)}\n")
        for site in sites:
            with only(client, site):
                job = client.run(HERE / "survey.yaml")
                view = job.wait(WITHIN_S)
            print(job.output().rstrip())
            facts[f"survey.yaml ran at {site}, unchanged"] = view.state is JobState.SUCCEEDED and view.site == site
        if RAY in sites and SLURM in sites:
            facts |= train(client)
        else:
            print(f"\nThe gang needs {SLURM} and {RAY}; it is left out.")
    print("\nFacts:")
    for fact, true in facts.items():
        print(f"  {'✓' if true else '✗'} {fact}")
    return 0 if all(facts.values()) else 1


@contextmanager
def only(client: Client, *sites: str) -> Iterator[None]:
    """Let nothing new be placed elsewhere meanwhile."""
    others = [s.site for s in client.sites() if s.site not in sites and s.state is SiteState.JOINED]
    for site in others:
        client.drain(site)
    try:
        yield
    finally:
        for site in others:
            client.resume(site)


def train(client: Client) -> dict[str, bool]:
    """Two ranks train at a Slurm site until its own users want the nodes, and go on at a Ray site."""
    print(f"\nA gang of two trains at {SLURM}, a Slurm cluster …")
    with only(client, SLURM, RAY):
        with only(client, SLURM):
            job = client.run(HERE / "train_gang.yaml")
            until(lambda: running_at(job, SLURM), "the gang runs")
        until(
            lambda: len(job.view().checkpoints) >= 1 and any(c.safe for c in job.view().checkpoints),
            "a checkpoint is safe",
        )
        print("… and the cluster's own users want both nodes: an urgent job of theirs preempts it.")
        urgent = sbatch("-p", "urgent", "-N2", "--exclusive", "--wrap", "sleep 30")
        until(lambda: attempts(job)[0].state is not AttemptState.RUNNING, "the first attempt ends")
        view = job.wait(WITHIN_S)
        subprocess.run(["scancel", urgent], env=slurm(), check=False)
    first, last = attempts(job)[0], attempts(job)[-1]
    for attempt in attempts(job):
        print(
            f"\nattempt {attempt.ordinal} at {attempt.site}: {attempt.state}, {attempt.reason and attempt.reason.code}"
        )
        print(indented(job.output(attempt.ordinal)))
    return {
        f"the gang began at {SLURM} and ended at {RAY}": (first.site, last.site) == (SLURM, RAY),
        "it resumed from its checkpoint": last.covered_us > 0,
        "it ended well, and once": view.state is JobState.SUCCEEDED
        and sum(a.state is AttemptState.SUCCEEDED for a in attempts(job)) == 1,
    }


def running_at(job: JobHandle, site: str) -> bool:
    """Whether its newest attempt runs there."""
    newest = attempts(job)[-1:]
    return bool(newest) and newest[0].site == site and newest[0].state is AttemptState.RUNNING


def attempts(job: JobHandle) -> tuple[AttemptView, ...]:
    """Every try, the first one first."""
    return job.view().attempts


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds. Raises SystemExit where it doesn't come to be."""
    end = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"not within {WITHIN_S:.0f} s: {what}")
        time.sleep(0.2)


def sbatch(*words: str) -> str:
    """Submit to the cluster as one of its own users; the job's number."""
    done = subprocess.run(["sbatch", "--parsable", *words], env=slurm(), check=True, capture_output=True, text=True)
    return done.stdout.strip()


def slurm() -> dict[str, str]:
    """The environment in which Slurm's commands speak to the cluster."""
    return dict(os.environ, SLURM_CONF=str(HOME / f"slurm-{SLURM}" / "slurm.conf"))


def indented(text: str) -> str:
    """The last lines of an output."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-8:])


if __name__ == "__main__":
    sys.exit(main())
