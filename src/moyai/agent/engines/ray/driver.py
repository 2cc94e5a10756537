"""What Ray runs for a gang: a driver that puts one guard on each node of a placement group, and waits for all of them.

It runs in the cluster, by the cluster's own Python and Ray; the agent lays it into the site's directory as it is, and
calls it with the file of a plan. Standard library and Ray only, Python 3.9 or later.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from typing import Any

NONCE = "{nonce}"
"""Stands in a plan's words for what all guards of one run share."""
LOST = 1
"""Exit code of a rank whose worker died."""
AFTER_S = 15.0
"""How long the other ranks have, beyond their grace, once one failed: their guards have stopped them by then."""
LOOK_S = 1.0


def run_guard(words: list[str], out: str) -> int:
    """On a node: run a guard and return its exit code. What it says itself is appended to the file `out`.

    It has a session of its own: where Ray kills this worker, the guard goes on under its lease, and with it knows what
    its rank started.
    """
    with open(out, "ab") as file:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, check=False
        )
    return done.returncode


class Gang:
    """All ranks of one attempt. `plan`: its words of each rank, what a rank takes of a node, how they are spread."""

    def __init__(self, ray: Any, plan: dict[str, Any]) -> None:
        self._ray = ray
        self._plan = plan
        self._ranks: dict[Any, int] = {}  # reference → rank
        self._until: float | None = None  # once a rank failed: when to wait no longer
        self.code = 0  # of the rank that failed first
        placing = importlib.import_module("ray.util.placement_group")
        bundles = [dict(plan["amounts"]) for _ in plan["words"]]
        self._group = placing.placement_group(bundles, strategy=plan["strategy"], name=plan["attempt"])
        self._placed = self._group.ready()

    def run(self) -> int:
        """Returns the exit code once all ranks are over, or one failed and the others had their time."""
        self._ray.get(self._placed)  # as long as it takes: the agent knows what can't be
        self._begin()
        while self._ranks and (self._until is None or time.monotonic() < self._until):
            done, _ = self._ray.wait(list(self._ranks), num_returns=1, timeout=LOOK_S)
            for reference in done:
                self._took(reference, self._ranks.pop(reference))
        return self.code

    def _begin(self) -> None:
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        amounts = dict(self._plan["amounts"])
        own = {name: amounts.pop(key, 0) for name, key in (("num_cpus", "CPU"), ("num_gpus", "GPU"))}
        memory = amounts.pop("memory", 0)
        if memory:
            own["memory"] = memory
        task = self._ray.remote(max_retries=0)(run_guard)
        nonce = os.urandom(16).hex()
        for rank, words in enumerate(self._plan["words"]):
            place = strategies.PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=rank)
            said = [nonce if word == NONCE else word for word in words]
            made = task.options(resources=amounts, scheduling_strategy=place, **own)
            self._ranks[made.remote(said, self._plan["out"])] = rank

    def _took(self, reference: Any, rank: int) -> None:
        try:
            code = int(self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            first = str(error).strip().split("\n")[0]
            print(f"rank {rank} was lost: {type(error).__name__}: {first}", flush=True)
            code = LOST
        if code != 0 and self._until is None:
            self.code = code if code > 0 else 128 - code
            self._until = time.monotonic() + self._plan["grace_s"] + AFTER_S


def main(path: str) -> int:
    """Run the plan in the file `path`."""
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    ray = importlib.import_module("ray")
    importlib.import_module("ray.exceptions")
    ray.init(address="auto", log_to_driver=False, logging_level="WARNING")
    return Gang(ray, plan).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
