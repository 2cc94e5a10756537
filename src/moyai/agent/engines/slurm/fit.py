"""Attempts and nodes in Slurm's terms: what a launch asks of a node, and which nodes are of which flavor. Pure."""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from moyai.agent.engines.batch.base import Submission
from moyai.agent.engines.batch.order import ENGINE_OUT
from moyai.agent.engines.slurm.types import SlurmJob, SlurmNode, SlurmOrder
from moyai.model.commands import Launch
from moyai.model.engine import SlurmFlavor
from moyai.model.site import Flavor

MIB = 1 << 20
MOST_NODES = 100_000
MINUTE_US = 60_000_000
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USABLE = frozenset({"idle", "mixed", "mix", "allocated", "alloc", "completing", "comp", "planned", "reserved", "resv"})
UNUSABLE = frozenset(
    {"drain", "draining", "drained", "down", "error", "fail", "failing", "failg", "maint", "not_responding", "future"}
    | {"invalid", "invalid_reg", "unknown", "reboot", "reboot_issued", "powering_down", "blocked"}
)
"""Words and flags of a node's state that keep new work away from it."""


def per_node(launch: Launch) -> tuple[int, int]:
    """(nodes, ranks on the fullest of them). A node that a launch names twice takes two ranks."""
    counts = Counter(launch.nodes)
    return len(counts), max(counts.values())


def order(submission: Submission, user: str, flavor: Flavor, where: SlurmFlavor, signal: str) -> SlurmOrder:
    """The job that runs a submission. `flavor`: of the profile. `signal`: before Slurm's limit, "" for none."""
    launch = submission.launch
    nodes, ranks = per_node(launch)
    need = launch.need
    memory = need.memory_bytes or flavor.memory_bytes * need.cores // max(1, flavor.cores)
    limit = launch.limit_us and -(-(launch.limit_us + _grace_us(launch)) // MINUTE_US) + 1
    gres = f"{where.gres or 'gpu'}:{need.accelerators * ranks}" if need.accelerators else ""
    return SlurmOrder(
        name=launch.attempt,
        user=user,
        script=script(submission, ranks),
        directory=submission.order.cwd,
        output=str(submission.place / ENGINE_OUT),
        nodes=nodes,
        tasks=len(launch.nodes),
        tasks_per_node=ranks,
        cpus_per_task=max(1, need.cores),
        memory_mib=max(1, -(-memory * ranks // MIB)),
        gres=gres,
        limit_minutes=limit,
        partition=where.partition,
        constraint=where.constraint,
        signal=signal,
        environment=(("PATH", PATH), ("MOYAI_ATTEMPT", launch.attempt)),
    )


def _grace_us(launch: Launch) -> int:
    return launch.checkpoint.grace_us if launch.checkpoint else launch.grace_us


def script(submission: Submission, ranks_of_node: int) -> str:
    """The batch script: every rank under its guard, all of them with the nonce of this run of the script."""
    launch = submission.launch
    guard = shlex.join(submission.guard)
    lines = ["#!/bin/bash", "read -r nonce </proc/sys/kernel/random/uuid"]
    if len(launch.nodes) == 1:
        lines.append(f'exec {guard} --rank 0 --nonce "$nonce"')
    else:
        step = ["srun", "--kill-on-bad-exit=1", "--mpi=none", f"--ntasks={len(launch.nodes)}"]
        step.append(f"--cpus-per-task={max(1, launch.need.cores)}")
        if launch.need.accelerators and ranks_of_node > 1:
            step += [f"--gpus-per-task={launch.need.accelerators}", f"--gpu-bind=per_task:{launch.need.accelerators}"]
        lines.append(f'exec {shlex.join(step)} {guard} --rank SLURM_PROCID --nonce "$nonce"')
    return "\n".join(lines) + "\n"


def gres_count(gres: str, name: str) -> int:
    """How many of `name` ("gpu", "gpu:h100") a node's gres has: "gpu:h100:4(S:0-1),nic:2"."""
    total = 0
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        words = part.split(":")
        count = words.pop() if words[-1].isdecimal() else "1"
        if words[: name.count(":") + 1] == name.split(":"):
            total += int(count)
    return total


def usable(node: SlurmNode) -> bool:
    """Whether new work can start on a node once what runs there is over."""
    words = set(node.state.split("+"))
    return bool(words & USABLE) and not words & UNUSABLE


def holds(node: SlurmNode, flavor: Flavor, where: SlurmFlavor) -> bool:
    """Whether a node is of a flavor."""
    wanted = [part for part in re.split(r"[&,]", where.constraint) if re.fullmatch(r"[\w.-]+", part)]
    return (
        (not where.partition or bool(set(where.partition.split(",")) & set(node.partitions)))
        and all(part in node.features for part in wanted)
        and node.cpus >= flavor.cores
        and node.memory_mib * MIB >= flavor.memory_bytes
        and (not flavor.accelerators or gres_count(node.gres, where.gres or "gpu") >= flavor.accelerators)
    )


def sort_nodes(
    nodes: Sequence[SlurmNode], flavors: Sequence[Flavor], places: Mapping[str, SlurmFlavor]
) -> dict[str, list[SlurmNode]]:
    """flavor → its nodes, each node in one flavor, no more than the profile declares; usable ones first.

    The flavors that ask most of a node choose first.
    """
    left = sorted(nodes, key=lambda node: (not usable(node), node.name))
    sorted_out: dict[str, list[SlurmNode]] = {}
    for flavor in sorted(flavors, key=lambda f: (-f.accelerators, -f.memory_bytes, -f.cores, f.name)):
        where = places.get(flavor.name, SlurmFlavor(flavor.name))
        fitting = [node for node in left if holds(node, flavor, where)][: flavor.count]
        sorted_out[flavor.name] = fitting
        left = [node for node in left if node not in fitting]
    return sorted_out


def expand(nodes: str) -> tuple[str, ...]:
    """The names in Slurm's short form of a list: "n[1-3,7],gate" are n1, n2, n3, n7 and gate."""
    names: list[str] = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodes):
        match = re.fullmatch(r"([^\[]*)\[([\d,-]+)\](.*)", part)
        if match is None:
            names.append(part)
            continue
        head, ranges, tail = match.groups()
        for span in ranges.split(","):
            low, _, high = span.partition("-")
            if low.isdecimal() and (high or low).isdecimal():
                last = min(int(high or low), int(low) + MOST_NODES)
                names += [f"{head}{n:0{len(low)}d}{tail}" for n in range(int(low), last + 1)]
    return tuple(names)


def foreign(jobs: Sequence[SlurmJob]) -> dict[str, int]:
    """node → cores that these jobs hold there, each taken to hold as many on every one of its nodes."""
    held: dict[str, int] = {}
    for job in jobs:
        names = expand(job.nodes)
        for name in names:
            held[name] = held.get(name, 0) + max(1, -(-job.cpus // len(names)))
    return held


def counted(
    flavors: Sequence[Flavor], sorted_out: Mapping[str, Sequence[SlurmNode]], others: Mapping[str, int]
) -> tuple[Flavor, ...]:
    """The flavors with the nodes that are usable now, and on which the jobs of others leave room for a whole one.

    `others`: node → cores that they hold there.
    """

    def ours(node: SlurmNode, flavor: Flavor) -> bool:
        return usable(node) and node.cpus - others.get(node.name, 0) >= flavor.cores

    return tuple(replace(f, count=sum(ours(node, f) for node in sorted_out.get(f.name, ()))) for f in flavors)
