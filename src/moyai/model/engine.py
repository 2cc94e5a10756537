"""How an agent reaches its site's engine. Kept at the site: control never sees it, and no secret stands in it.

A secret is named by the file that holds it. Spans are in microseconds.
"""

from dataclasses import dataclass

from moyai.model.ids import FlavorName, TenantName


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """How the guards of an engine's nodes find the agent."""

    python: str = "python3"  # on the nodes; 3.9 or later
    listen: str = ""  # "HOST:PORT" for guards on nodes that can't reach the agent's Unix socket; "" for none


@dataclass(frozen=True, slots=True)
class SlurmFlavor:
    """Where the nodes of a flavor are in a Slurm cluster."""

    flavor: FlavorName
    partition: str = ""  # "" for the cluster's default
    constraint: str = ""  # features that its nodes have
    gres: str = ""  # one accelerator of a node, such as "gpu:h100"; "" for "gpu"


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """A Slurm cluster: by its REST where `rest` is set, else by its commands."""

    rest: str = ""  # "http://HOST:PORT" of slurmrestd
    config: str = ""  # slurm.conf, for the commands
    jwt_key: str = ""  # the file of the key that mints tokens
    token: str = ""  # the file of a token for `user`, where the key stays with the cluster
    user: str = ""  # the account under which jobs run, where a tenant has none of its own
    accounts: tuple[tuple[TenantName, str], ...] = ()  # each tenant's own account
    flavors: tuple[SlurmFlavor, ...] = ()
    poll_us: int = 1_000_000
    guard: GuardSettings = GuardSettings()


@dataclass(frozen=True, slots=True)
class RaySettings:
    """A Ray cluster, by the jobs API of its head."""

    address: str  # "http://HOST:PORT" of the dashboard
    token: str = ""  # the file of its token
    accelerators: tuple[tuple[str, str], ...] = ()  # our accelerator type → Ray's custom resource; else "GPU"
    poll_us: int = 1_000_000
    guard: GuardSettings = GuardSettings()


@dataclass(frozen=True, slots=True)
class SshHost:
    """A machine that is reached by SSH, and is one node."""

    name: str
    address: str  # host name or IP
    flavor: FlavorName
    port: int = 22
    user: str = ""  # "" for the agent's own
    key: str = ""  # the file of a private key; "" for the user's usual ones
    jump: str = ""  # the name of another host of the list, through which it is reached


@dataclass(frozen=True, slots=True)
class SshSettings:
    """Machines that are reached by SSH."""

    hosts: tuple[SshHost, ...]
    known_hosts: str = ""  # the file of known host keys; "" for ~/.ssh/known_hosts
    directory: str = ".moyai-site"  # on each of them
    python: str = "python3"  # on each of them; 3.11 or later


EngineSettings = SlurmSettings | RaySettings | SshSettings
"""The settings of an engine that needs any."""


@dataclass(frozen=True, slots=True)
class EngineFile:
    """What lies beside an agent's profile: one of these, or none for the host engine."""

    slurm: SlurmSettings | None = None
    ray: RaySettings | None = None
    ssh: SshSettings | None = None

    @property
    def settings(self) -> EngineSettings | None:
        """The settings that are there."""
        return self.slurm or self.ray or self.ssh
