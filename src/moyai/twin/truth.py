"""What really happens in a world, seen by nobody in it: which processes run, where, and since when.

The rules of the agents and of control are judged against this, while the world runs.
"""

from dataclasses import dataclass, field

from moyai.agent.core.effects import FOREVER, EngineEnd
from moyai.model.commands import Launch
from moyai.model.ids import AttemptId, FlavorName, JobId, ManifestId, SiteName
from moyai.model.site import SiteProfile
from moyai.model.units import Boot
from moyai.model.workload import Need
from moyai.twin.world import World


class Violation(AssertionError):
    """A promise that did not hold."""


@dataclass(slots=True)
class Run:
    """One start of an attempt: its guards and, once they may, its processes."""

    site: SiteName
    launch: Launch
    nonce: str
    known: bool = True  # the engine has it in its books
    ranks: int = 0  # that were granted their start
    ended: bool = False
    until: Boot = Boot(FOREVER)  # by the site's boot clock: its guards are dead by then
    began: int = -1  # true time of the first rank's start
    all_began: int = -1  # true time when the last rank started
    end: EngineEnd | None = None
    checkpoints: list[tuple[str, ManifestId, int, int]] = field(
        default_factory=list[tuple[str, ManifestId, int, int]]
    )  # (name, manifest, bytes, run time saved)

    @property
    def attempt(self) -> AttemptId:
        """The attempt that it is a start of."""
        return self.launch.attempt

    @property
    def runs(self) -> bool:
        """Whether processes of it are alive."""
        return self.began >= 0 and not self.ended


class Truth:
    """The running processes of the whole world."""

    __slots__ = ("_claims", "_cores", "_profiles", "_running", "_world", "most_at_once", "runs")

    def __init__(self, world: World, profiles: dict[SiteName, SiteProfile]) -> None:
        self._world = world
        self._profiles = profiles
        self._running: dict[JobId, list[Run]] = {}
        self._claims: dict[AttemptId, str] = {}
        self._cores: dict[tuple[SiteName, FlavorName, int], int] = {}
        self.runs = 0
        self.most_at_once = 0

    def granted(self, run: Run) -> None:
        """A rank of `run` was told that it may run. Raises Violation where another start of it was told so before."""
        held = self._claims.setdefault(run.attempt, run.nonce)
        if held != run.nonce:
            raise Violation(f"{run.attempt}: two starts were granted, {held} and {run.nonce}")

    def begin(self, run: Run) -> None:
        """Processes of `run` run from now. Raises Violation where its job runs already, or its nodes are full."""
        others = self._running.setdefault(run.launch.job, [])
        if others:
            other = others[0]
            raise Violation(
                f"two of {run.launch.job} run at once: {other.attempt} at {other.site} ({other.nonce}) and "
                f"{run.attempt} at {run.site} ({run.nonce})"
            )
        others.append(run)
        run.began = self._world.now
        self.runs += 1
        self._occupy(run, run.launch.need, 1)

    def end(self, run: Run) -> None:
        """Nothing of `run` runs any more."""
        if run.runs:
            self._running[run.launch.job].remove(run)
            self._occupy(run, run.launch.need, -1)
        run.ended = True

    def running(self, job: JobId) -> bool:
        """Whether processes of the job are alive anywhere."""
        return bool(self._running.get(job))

    def _occupy(self, run: Run, need: Need, sign: int) -> None:
        flavor = self._profiles[run.site].flavor(run.launch.flavor)
        if flavor is None:
            raise Violation(f"{run.attempt}: {run.site} has no flavor {run.launch.flavor}")
        for node in run.launch.nodes:
            key = (run.site, flavor.name, node)
            self._cores[key] = self._cores.get(key, 0) + sign * need.cores
            if self._cores[key] > flavor.cores:
                raise Violation(
                    f"{run.attempt}: node {node} of {run.site} runs {self._cores[key]} of {flavor.cores} cores"
                )
