"""What lies in an attempt's directory for Ray to run: one guard by a shell, or a gang's guards by the driver."""

import shlex
from pathlib import Path

import msgspec

from moyai.agent.engines.batch.base import Submission
from moyai.agent.engines.batch.order import ENGINE_OUT
from moyai.agent.engines.ray.driver import NONCE
from moyai.agent.engines.ray.nodes import Amounts

SCRIPT, PLAN = "ray.sh", "ray-plan.json"


class Plan(msgspec.Struct, frozen=True):
    """What the driver reads: the words of each rank's guard, what a rank takes of its node."""

    attempt: str
    words: list[list[str]]
    amounts: Amounts
    strategy: str
    grace_s: float
    out: str


def single(submission: Submission) -> str:
    """The script of an attempt on one node: its guard, with a nonce that is drawn when it runs.

    The guard has a session of its own. When Ray's supervisor of a job dies, Ray kills the job's group with no word, and
    what a rank had started itself would be left without a guard. So the guard goes on, under its lease. What Ray sends
    to end a job it sends to the guard as well, which is why the shell waits on.
    """
    words = " ".join(shlex.quote(word) for word in submission.words("0", NONCE))
    return "\n".join(
        (
            "#!/bin/sh",
            f"exec >>{shlex.quote(str(submission.place / ENGINE_OUT))} 2>&1",
            "trap : TERM INT HUP",
            "read -r nonce </proc/sys/kernel/random/uuid || exit 1",
            "setsid " + words.replace(shlex.quote(NONCE), '"$nonce"') + " &",
            "while :; do",
            '    wait "$!"',
            "    code=$?",
            '    kill -0 "$!" 2>/dev/null || exit "$code"',
            "done",
            "",
        )
    )


def gang(submission: Submission, driver: Path, python: str) -> str:
    """The script of a gang: the driver, by the first Python that has Ray."""
    plan = submission.place / PLAN
    tried = " ".join(dict.fromkeys(("python", "python3", shlex.quote(python))))
    return "\n".join(
        (
            "#!/bin/sh",
            f"exec >>{shlex.quote(str(submission.place / ENGINE_OUT))} 2>&1",
            f"for python in {tried}; do",
            '    if "$python" -c \'import importlib.util as u, sys; sys.exit(u.find_spec("ray") is None)\'; then',
            f'        exec "$python" {shlex.quote(str(driver))} {shlex.quote(str(plan))}',
            "    fi",
            "done",
            "echo 'no Python here has Ray: start it with the bin directory of its environment on the PATH'",
            "exit 127",
            "",
        )
    )


def plan_of(submission: Submission, amounts: Amounts, strategy: str) -> Plan:
    """The driver's plan for a gang."""
    ranks = range(len(submission.launch.nodes))
    return Plan(
        attempt=submission.launch.attempt,
        words=[submission.words(str(rank), NONCE) for rank in ranks],
        amounts=amounts,
        strategy=strategy,
        grace_s=submission.order.grace_us / 1_000_000,
        out=str(submission.place / ENGINE_OUT),
    )


def lay(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all. Raises OSError."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    temporary.replace(path)
