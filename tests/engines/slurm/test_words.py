"""Slurm's words in ours, and ours in Slurm's: no Slurm is needed."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.site import launch
from engines.slurm.site import order as made
from engines.slurm.site import profile
from moyai.agent.engines.batch.base import Phase, Submission
from moyai.agent.engines.slurm import fit
from moyai.agent.engines.slurm.commands import exit_status, span_us
from moyai.agent.engines.slurm.rest import Still
from moyai.agent.engines.slurm.shapes import V0038
from moyai.agent.engines.slurm.states import PHASES, phase, reason
from moyai.agent.engines.slurm.tokens import mint
from moyai.agent.engines.slurm.types import SlurmNode
from moyai.agent.messages import Start
from moyai.model.engine import SlurmFlavor
from moyai.model.ids import FlavorName
from moyai.model.reasons import Code
from moyai.model.site import Flavor

NODE = SlurmNode("n1", "idle", ("batch",), ("ib", "local"), "gpu:h100:4(S:0-1),nic:2", 8, 16_000)


def submission(attempt_launch, tmp_path: Path) -> Submission:
    start = Start("a.1", 1, ["true"], {}, str(tmp_path / "work"), str(tmp_path), 1, 15, 0, 0, 1, 1)
    return Submission(attempt_launch, start, tmp_path, ("python3", "/a b/guard.pyz"))


def test_a_state_that_nobody_knows_is_taken_as_running() -> None:
    assert phase("SOMETHING_NEW") is Phase.RUNNING
    assert reason("SOMETHING_NEW", "", preempted=False) is None


@pytest.mark.parametrize("state", [s for s, p in PHASES.items() if p is Phase.ENDED])
def test_every_end_has_a_reason_or_is_the_jobs_own(state: str) -> None:
    why = reason(state, "detail", preempted=False)
    assert (why is None) == (state in ("COMPLETED", "FAILED"))
    assert why is None or state in why.detail


def test_one_that_left_within_the_grace_of_its_preemption_was_preempted() -> None:
    why = reason("COMPLETED", "", preempted=True)
    assert why is not None
    assert why.code is Code.PREEMPTED


def test_a_token_is_a_jwt_that_slurm_can_check() -> None:
    head, body, mark = mint(b"key", "ann", 1_000, 60).split(".")
    decode = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))  # noqa: E731
    assert json.loads(decode(head)) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(decode(body)) == {"exp": 1_060, "iat": 1_000, "sun": "ann"}
    assert decode(mark) == hmac.new(b"key", f"{head}.{body}".encode(), hashlib.sha256).digest()


def test_what_a_job_asks_of_each_node(tmp_path: Path) -> None:
    flavor = profile("tokyo").flavors[0]
    where = SlurmFlavor(FlavorName("cpu"), "batch", "ib", "gpu:h100")
    gang = replace(made("a.1", accelerators=1, cores=2, memory_mib=100, limit_us=61_000_000), nodes=(0, 0, 1))
    asked = fit.order(submission(gang, tmp_path), "ann", flavor, where, "")
    assert (asked.nodes, asked.tasks, asked.tasks_per_node, asked.cpus_per_task) == (2, 3, 2, 2)
    assert (asked.memory_mib, asked.gres, asked.limit_minutes) == (200, "gpu:h100:2", 3)
    body = V0038().submit(asked)["job"]
    assert body["environment"]
    assert body["no_requeue"] is True
    assert body["name"] == body["comment"] == "a.1"
    assert "'/a b/guard.pyz'" in asked.script
    assert "--gpus-per-task=1" in asked.script


def test_a_job_that_names_no_memory_has_its_share_of_the_node(tmp_path: Path) -> None:
    flavor = Flavor(FlavorName("cpu"), 1, 4, 8 << 30)
    asked = fit.order(submission(launch("a.1"), tmp_path), "ann", flavor, SlurmFlavor(FlavorName("cpu")), "")
    assert asked.memory_mib == 2_048


@pytest.mark.parametrize(
    ("gres", "name", "count"),
    [("gpu:h100:4(S:0-1),nic:2", "gpu", 4), ("gpu:h100:4", "gpu:h100", 4), ("gpu:h100:4", "gpu:a100", 0), ("", "gpu", 0),
     ("gpu:2", "gpu", 2), ("gpu", "gpu", 1), ("gpu:a:1,gpu:b:2", "gpu", 3)],
)  # fmt: skip
def test_devices_of_a_node(gres: str, name: str, count: int) -> None:
    assert fit.gres_count(gres, name) == count


@pytest.mark.parametrize(
    ("state", "good"),
    [("idle", True), ("mixed", True), ("allocated+completing", True), ("idle+drain", False), ("down+not_responding", False),
     ("drained", False), ("idle+not_responding", False), ("unknown", False), ("future", False), ("idle+planned", True)],
)  # fmt: skip
def test_nodes_that_can_take_new_work(state: str, good: bool) -> None:
    assert fit.usable(replace(NODE, state=state)) is good


def test_each_node_counts_once_and_for_the_flavor_that_asks_most() -> None:
    small, big = Flavor(FlavorName("small"), 9, 1, 1 << 30), Flavor(FlavorName("big"), 1, 8, 1 << 30, "h100", 4)
    nodes = [replace(NODE, name=f"n{i}") for i in range(3)]
    nodes[0] = replace(nodes[0], state="idle+drain")
    found = fit.sort_nodes(nodes, (small, big), {})
    assert [node.name for node in found["big"]] == ["n1"]
    assert {node.name for node in found["small"]} == {"n0", "n2"}
    assert [flavor.count for flavor in fit.counted((small, big), found, {})] == [1, 1]


@pytest.mark.parametrize(
    ("text", "us"),
    [("1-02:03:04", 93_784_000_000), ("03:04", 184_000_000), ("00:01.5", 1_500_000), ("UNLIMITED", 0), ("", 0)],
)
def test_spans(text: str, us: int) -> None:
    assert span_us(text) == us


@pytest.mark.parametrize(("text", "status"), [("3:0", 768), ("0:9", 9), ("0:0", 0), ("", -1), ("x:y", -1)])
def test_exit_codes(text: str, status: int) -> None:
    assert exit_status(text) == status


def test_only_changes_are_asked_for_once_the_second_of_the_last_one_is_over() -> None:
    still = Still()
    still.listed(10_000_000, 500)
    assert still.since_s(10_500_000) == 0
    still.listed(12_500_000, 500)
    assert still.since_s(13_000_000) == 501
    assert still.since_s(50_000_000) == 0
    still.listed(51_000_000, 600)
    assert still.since_s(51_500_000) == 0
