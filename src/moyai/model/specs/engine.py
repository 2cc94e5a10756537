"""How a site's engine is reached, as its operator writes it: `slurm:`, `ray:` or `ssh:` in the entry of the site.

Secrets are named by the files that hold them.
"""

from datetime import timedelta
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from moyai.model.specs.base import Part
from moyai.model.specs.fields import AbsolutePath, Name, Read, ShortSpan, whole
from moyai.model.specs.problems import BadValue, BadValues

_STRING = {"type": "string"}
_POLL = timedelta(seconds=1)


def _address(text: str) -> str:
    """An HTTP address without a path."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or port == 0:
        raise BadValue("is no address", "write for example 'http://127.0.0.1:6820'")
    return text.rstrip("/")


def _listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) <= 65_535:
        raise BadValue("is no HOST:PORT", "write for example '10.0.0.5:7070'")
    return text


def _word(text: str) -> str:
    if not text or not text.isprintable() or any(c.isspace() or c in "'\"\\`$;&|<>" for c in text) or len(text) > 255:
        raise BadValue("is no plain word", "leave out spaces, quotes and signs that a shell reads")
    return text


Address: TypeAlias = Annotated[str, Read(_address, str, _STRING)]
Listen: TypeAlias = Annotated[str | None, Read(_listen, str, _STRING, (), True)]
Word: TypeAlias = Annotated[str, Read(_word, str, _STRING)]
OptionalWord: TypeAlias = Annotated[str | None, Read(_word, str, _STRING, (), True)]
OptionalPath: TypeAlias = AbsolutePath | None


class GuardPart(Part):
    """How the guards of the engine's nodes find the agent."""

    python: Word = Field(
        default="python3", description="Python on the nodes, 3.9 or later.", examples=["/usr/bin/python3"]
    )
    listen: Listen = Field(
        default=None,
        description="Where the agent listens for guards on nodes that don't share its machine.",
        examples=["10.0.0.5:7070"],
    )


class SlurmFlavorPart(Part):
    """Where the nodes of a flavor are in the cluster."""

    partition: OptionalWord = Field(
        default=None, description="The partition of its nodes. The cluster's default if left out.", examples=["batch"]
    )
    constraint: OptionalWord = Field(default=None, description="Features that its nodes have.", examples=["ib"])
    gres: OptionalWord = Field(
        default=None,
        description="One accelerator of a node, as Slurm calls it. 'gpu' if left out.",
        examples=["gpu:h100"],
    )


class SlurmPart(Part):
    """A Slurm cluster."""

    rest: Address | None = Field(
        default=None,
        description="slurmrestd. Without it the commands sbatch, squeue and scancel are used.",
        examples=["http://127.0.0.1:6820"],
    )
    config: OptionalPath = Field(
        default=None, description="slurm.conf, for the commands.", examples=["/etc/slurm/slurm.conf"]
    )
    jwt_key: OptionalPath = Field(
        default=None,
        description="The file of the key that mints tokens for slurmrestd.",
        examples=["/etc/slurm/jwt_hs256.key"],
    )
    token: OptionalPath = Field(
        default=None,
        description="The file of a token for `user`, where the key stays with the cluster.",
        examples=["/etc/moyai/slurm.token"],
    )
    user: OptionalWord = Field(
        default=None, description="The account under which jobs of other tenants run.", examples=["moyai"]
    )
    accounts: dict[Name, Word] = Field(
        default={}, description="The account of each tenant that has its own.", examples=[{"acme": "acme-svc"}]
    )
    flavors: dict[Name, SlurmFlavorPart] = Field(
        default={},
        description="Where the nodes of a flavor are.",
        examples=[{"h100": {"partition": "batch", "gres": "gpu:h100"}}],
    )
    poll: ShortSpan = Field(default=_POLL, description="How often the states of its jobs are read.", examples=["2s"])
    guard: GuardPart = Field(
        default=GuardPart(), description="How the guards of its nodes find the agent.", examples=[{}]
    )

    @model_validator(mode="after")
    def _agree(self) -> "SlurmPart":
        bad: list[BadValue] = []
        if self.rest is not None and self.jwt_key is None and self.token is None:
            bad.append(BadValue("can't be used without a token", "add `jwt_key:` or `token:`", below=("rest",)))
        if self.jwt_key is not None and self.token is not None:
            bad.append(BadValue("stands beside `jwt_key`", "keep one of them", below=("token",)))
        if self.token is not None and self.accounts:
            bad.append(
                BadValue("need the key, as a token is good for one account", "give `jwt_key:`", below=("accounts",))
            )
        bad += poll_problems(self.poll)
        if bad:
            raise BadValues(tuple(bad))
        return self


class RayPart(Part):
    """A Ray cluster."""

    address: Address = Field(description="The dashboard of its head.", examples=["http://127.0.0.1:8265"])
    token: OptionalPath = Field(
        default=None, description="The file of its token. None is sent if left out.", examples=["/etc/moyai/ray.token"]
    )
    accelerators: dict[Word, Word] = Field(
        default={},
        description="The custom resource of an accelerator type. Ray's own 'GPU' if left out.",
        examples=[{"NPU": "npu"}],
    )
    poll: ShortSpan = Field(default=_POLL, description="How often the states of its jobs are read.", examples=["2s"])
    guard: GuardPart = Field(
        default=GuardPart(), description="How the guards of its nodes find the agent.", examples=[{}]
    )

    @model_validator(mode="after")
    def _agree(self) -> "RayPart":
        if bad := poll_problems(self.poll):
            raise BadValues(tuple(bad))
        return self


class SshHostPart(Part):
    """A machine that is one node."""

    name: Name = Field(description="What it is called at its site.", examples=["node-1"])
    address: Word = Field(description="Its host name or IP address.", examples=["10.0.0.11"])
    flavor: Name = Field(description="Which flavor of the site it is.", examples=["standard"])
    port: Annotated[int, whole(1, 65_535)] = Field(default=22, description="Of its sshd.", examples=[22])
    user: OptionalWord = Field(
        default=None, description="The user there. The agent's own if left out.", examples=["moyai"]
    )
    key: OptionalPath = Field(
        default=None, description="The file of the private key.", examples=["/etc/moyai/id_ed25519"]
    )
    jump: Annotated[str | None, Read(_word, str, _STRING, (), True)] = Field(
        default=None, description="Another host of this list, through which it is reached.", examples=["gate"]
    )


class SshPart(Part):
    """Machines that are reached by SSH."""

    hosts: tuple[SshHostPart, ...] = Field(
        description="The machines.", examples=[[{"name": "node-1", "address": "10.0.0.11", "flavor": "standard"}]]
    )
    known_hosts: OptionalPath = Field(
        default=None,
        description="The file of their host keys. The user's own known_hosts if left out.",
        examples=["/etc/moyai/known_hosts"],
    )
    directory: Annotated[str, Read(_word, str, _STRING)] = Field(
        default=".moyai-site",
        description="Where a machine keeps what belongs to the site.",
        examples=["/var/lib/moyai"],
    )
    python: Word = Field(
        default="python3", description="Python on the machines, 3.11 or later.", examples=["/usr/bin/python3"]
    )

    @model_validator(mode="after")
    def _agree(self) -> "SshPart":
        names = [host.name for host in self.hosts]
        bad = [
            BadValue("is taken by another", "choose another name", below=("hosts", i, "name"))
            for i, name in enumerate(names)
            if name in names[:i]
        ]
        if not names:
            bad.append(BadValue("names no machine", "list one at least", "", ("hosts",)))
        jumps = {host.name: host.jump for host in self.hosts}
        for i, host in enumerate(self.hosts):
            if host.jump is not None and host.jump not in names:
                bad.append(
                    BadValue("is no host of this list", f"hosts: {', '.join(names)}", below=("hosts", i, "jump"))
                )
            elif _circular(host.name, jumps):
                bad.append(BadValue("leads back to this host", "name another", below=("hosts", i, "jump")))
        if bad:
            raise BadValues(tuple(bad))
        return self


def _circular(name: str, jumps: dict[str, str | None]) -> bool:
    at, steps = jumps.get(name), 0
    while at is not None and steps <= len(jumps):
        if at == name:
            return True
        at, steps = jumps.get(at), steps + 1
    return False


def poll_problems(poll: timedelta) -> list[BadValue]:
    """What is wrong with the pause between two looks at a cluster."""
    if not timedelta(milliseconds=200) <= poll <= timedelta(minutes=5):
        return [BadValue("is out of range", "write a span from '200ms' to '5m'", below=("poll",))]
    return []
