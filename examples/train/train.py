"""Fit a small neural network to a sine, with checkpoints in the manner that Moyai knows. Standard library only.

A checkpoint is a directory below $MOYAI_CHECKPOINT. It is complete once its marker is renamed to `.complete`, and is
never changed after that. SIGUSR1 asks for one now; SIGTERM asks to save and end. After a move, $MOYAI_CHECKPOINT holds
the checkpoint to go on from.
"""

import json
import math
import os
import signal
import sys
from pathlib import Path

HIDDEN = 12
RATE = 0.05
XS = [i / 16 - 2 for i in range(65)]
YS = [math.sin(x * 1.5) for x in XS]


def fresh():
    """Weights to start from: into the hidden layer, its biases, out of it, the last bias."""
    spread = [math.sin(7 * j + 1) for j in range(3 * HIDDEN)]  # as good as chance here, and the same every time
    w, b, v = spread[:HIDDEN], spread[HIDDEN : 2 * HIDDEN], spread[2 * HIDDEN :]
    return {"step": 0, "w": w, "b": b, "v": v, "c": 0.0}


def step(state):
    """One step of gradient descent over all points. Returns the mean squared error before it."""
    w, b, v = state["w"], state["b"], state["v"]
    gw, gb, gv, gc, loss = [0.0] * HIDDEN, [0.0] * HIDDEN, [0.0] * HIDDEN, 0.0, 0.0
    for x, y in zip(XS, YS, strict=True):
        hidden = [math.tanh(w[j] * x + b[j]) for j in range(HIDDEN)]
        error = sum(v[j] * hidden[j] for j in range(HIDDEN)) + state["c"] - y
        loss += error * error
        gc += error
        for j in range(HIDDEN):
            gv[j] += error * hidden[j]
            slope = error * v[j] * (1 - hidden[j] * hidden[j])
            gw[j] += slope * x
            gb[j] += slope
    scale = 2 * RATE / len(XS)
    for j in range(HIDDEN):
        w[j] -= scale * gw[j]
        b[j] -= scale * gb[j]
        v[j] -= scale * gv[j]
    state["c"] -= scale * gc
    state["step"] += 1
    return loss / len(XS)


def save(root, state):
    """Write a checkpoint: the content first, the marker's rename last."""
    place = root / f"step-{state['step']:06}"
    if (place / ".complete").exists():
        return
    place.mkdir(parents=True, exist_ok=True)
    for name, text in (("state.json", json.dumps(state)), (".complete.tmp", "")):
        with open(place / name, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    os.rename(place / ".complete.tmp", place / ".complete")
    print(f"checkpoint {place.name}", flush=True)


def restored(root):
    """The state of the newest complete checkpoint, or a fresh one."""
    complete = sorted(marker.parent for marker in root.glob("*/.complete")) if root else []
    if not complete:
        return fresh()
    print(f"resumed from {complete[-1].name}", flush=True)
    return json.loads((complete[-1] / "state.json").read_text("utf-8"))


def main():
    """Train up to $STEPS steps. Returns the exit code: 0 when done, 143 when asked to end before."""
    root = Path(os.environ["MOYAI_CHECKPOINT"]) if "MOYAI_CHECKPOINT" in os.environ else None
    steps, every = int(os.environ.get("STEPS", "20000")), int(os.environ.get("EVERY", "1000"))
    wanted = {"save": False, "end": False}
    signal.signal(signal.SIGUSR1, lambda number, frame: wanted.update(save=True))
    signal.signal(signal.SIGTERM, lambda number, frame: wanted.update(end=True))
    state = restored(root)
    while state["step"] < steps:
        loss = step(state)
        if state["step"] % every == 0 or state["step"] == steps:
            print(f"step {state['step']} loss {loss:.5f}", flush=True)
        end = wanted["end"]
        if root and (end or wanted["save"] or state["step"] % every == 0):
            wanted["save"] = False
            save(root, state)
        if end:
            return 143
    return 0


if __name__ == "__main__":
    sys.exit(main())
