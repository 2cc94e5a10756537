"""A site of the twin: a machine with a disk and an engine, and on it the process of an agent, while one lives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from moyai.agent.core.effects import Claim
from moyai.model.ids import AttemptId, JobId, ManifestId, SiteName
from moyai.model.site import Flavor, SiteProfile
from moyai.twin.agent import Agent, Exchange
from moyai.twin.engine import Engine, Work
from moyai.twin.network import Network
from moyai.twin.truth import Run, Truth
from moyai.twin.world import Machine, World


@dataclass(slots=True)
class Disk:
    """What survives the death of every process of a site."""

    number: int = 1
    journal: dict[str, bytes] = field(default_factory=dict[str, bytes])
    objects: dict[ManifestId, int] = field(default_factory=dict[ManifestId, int])  # manifest → bytes


class Site:
    """The machine. `agent` is None while no agent lives on it."""

    def __init__(
        self,
        world: World,
        net: Network,
        control: Exchange,
        *,
        truth: Truth,
        profile: SiteProfile,
        drift_ppm: int,
        work: Callable[[JobId], Work],
        guarded: bool = True,
    ) -> None:
        self.world, self.net, self.control, self.profile = world, net, control, profile
        self.name = profile.name
        self.machine = Machine(world, drift_ppm)
        self.disk = Disk()
        self.agent: Agent | None = None
        self.up = False
        self.engine = Engine(
            world, self.name, self.machine, door=self, truth=truth, work=work, keep=self.keep, guarded=guarded
        )
        self.others: Mapping[SiteName, Site] = {}
        self.crash_share = 0.0  # of the agent's steps after which it dies
        self.all_claims = False  # the start claim is switched off
        self.same_files = True  # a task that runs again writes the same
        self.nodes = profile.flavors[0].count  # that are up now

    # -- life and death --------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """The machine and its agent come up."""
        if not self.up:
            self.up = True
            self.world.say(f"{self.name}: up, disk {self.disk.number}")
            self.start_agent()

    def start_agent(self) -> None:
        """An agent starts, if the machine is up and none lives."""
        if self.up and self.agent is None:
            self.agent = Agent(self)
            self.agent.begin()

    def kill_agent(self) -> None:
        """The agent dies −9; the engine and its guards go on."""
        if self.agent is not None:
            self.world.say(f"{self.name}: agent dies")
            self.agent.alive = False
            self.agent = None

    def power_off(self, *, lose_disk: bool, lose_books: bool) -> None:
        """The machine dies with all that runs on it."""
        self.world.say(f"{self.name}: power off{', disk lost' if lose_disk else ''}")
        self.kill_agent()
        self.up = False
        self.engine.die(lose_books=lose_books or lose_disk)
        self.machine.reboot()
        if lose_disk:
            self.disk = Disk(self.disk.number + 1)

    def set_nodes(self, count: int) -> None:
        """Nodes fail, or come back."""
        if count != self.nodes:
            self.world.say(f"{self.name}: {count} nodes are up")
            self.nodes = count
            self.engine.lose_nodes(count)
            if self.agent:
                self.agent.tell_capacity()

    def flavors(self) -> tuple[Flavor, ...]:
        """What its engine has now."""
        return (replace(self.profile.flavors[0], count=self.nodes),)

    def keep(self, manifest: ManifestId, size_bytes: int) -> None:
        """Put an object on the disk."""
        self.disk.objects[manifest] = size_bytes

    # -- the door that guards and engine use -----------------------------------------------------------------------

    def ask_claim(self, attempt: AttemptId, nonce: str, rank: int) -> Claim | None:
        """A rank's start claim; None where no agent lives to answer."""
        return self.agent.claim(attempt, nonce, rank) if self.agent else None

    def ask_lease(self, attempt: AttemptId) -> int | None:
        """A guard renews; None where no agent lives."""
        return self.agent.core.lease_left_us(self.machine.boot(), attempt) if self.agent else None

    def told(self, run: Run) -> None:
        """The engine has news of a start; a dead agent hears it when it comes back."""
        if self.agent:
            self.world.after(self.world.between(500, 5_000), self.agent.observe, run)
