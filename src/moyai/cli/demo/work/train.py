"""A character-level language model in NumPy, trained on the source of Python's standard library.

It keeps its progress as Moyai asks: a directory for each checkpoint, with a marker renamed into place when it is whole.
Usage: python train.py --steps 3000
"""

import argparse
import os
import signal
import sys
import sysconfig
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread: this machine is shared by three sites

import numpy as np
from numpy.typing import NDArray

CONTEXT, EMBED, HIDDEN, BATCH = 8, 16, 96, 128
RATE, BETA1, BETA2, EPSILON = 2e-3, 0.9, 0.99, 1e-8
CHARS = "\n" + "".join(chr(c) for c in range(32, 127))
Params = dict[str, NDArray[np.float64]]


def read_text(limit: int = 2_000_000) -> NDArray[np.int64]:
    """Symbols of the standard library's source, in a fixed order; anything outside ASCII is left out."""
    index = {c: i for i, c in enumerate(CHARS)}
    text: list[int] = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text.extend(index[c] for c in path.read_text("utf-8", "ignore") if c in index)
        if len(text) > limit:
            break
    return np.array(text[:limit], dtype=np.int64)


def new_params(rng: np.random.Generator) -> Params:
    """Weights of an embedding, one hidden layer and a softmax."""
    fan = CONTEXT * EMBED
    return {
        "embed": rng.normal(0, 0.1, (len(CHARS), EMBED)),
        "w1": rng.normal(0, fan**-0.5, (fan, HIDDEN)),
        "b1": np.zeros(HIDDEN),
        "w2": rng.normal(0, HIDDEN**-0.5, (HIDDEN, len(CHARS))),
        "b2": np.zeros(len(CHARS)),
    }


def gradients(p: Params, x: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[float, Params]:
    """Mean cross-entropy in nats per character, and its gradient. x: (batch, CONTEXT), y: (batch,)."""
    n = len(y)
    h0 = p["embed"][x].reshape(n, -1)
    h1 = np.tanh(h0 @ p["w1"] + p["b1"])
    z = h1 @ p["w2"] + p["b2"]
    z -= z.max(axis=1, keepdims=True)
    q = np.exp(z)
    q /= q.sum(axis=1, keepdims=True)
    loss = float(-np.log(q[np.arange(n), y]).mean())
    q[np.arange(n), y] -= 1
    q /= n
    back = (q @ p["w2"].T) * (1 - h1**2)
    embed = np.zeros_like(p["embed"])
    np.add.at(embed, x, (back @ p["w1"].T).reshape(n, CONTEXT, EMBED))
    return loss, {"embed": embed, "w1": h0.T @ back, "b1": back.sum(0), "w2": h1.T @ q, "b2": q.sum(0)}


class Trainer:
    """Weights, Adam's moments and the step, saved and restored whole."""

    def __init__(self, seed: int) -> None:
        self.step = 0
        self.params = new_params(np.random.default_rng(seed))
        self.first = {k: np.zeros_like(v) for k, v in self.params.items()}
        self.second = {k: np.zeros_like(v) for k, v in self.params.items()}

    def train(self, text: NDArray[np.int64], seed: int) -> float:
        """One step of Adam on a batch drawn from (seed, step); returns its loss."""
        rng = np.random.default_rng((seed, self.step))
        at = rng.integers(0, len(text) - CONTEXT - 1, BATCH)
        loss, grads = gradients(self.params, text[at[:, None] + np.arange(CONTEXT)], text[at + CONTEXT])
        self.step += 1
        for key, grad in grads.items():
            self.first[key] += (1 - BETA1) * (grad - self.first[key])
            self.second[key] += (1 - BETA2) * (grad**2 - self.second[key])
            m = self.first[key] / (1 - BETA1**self.step)
            v = self.second[key] / (1 - BETA2**self.step)
            self.params[key] -= RATE * m / (np.sqrt(v) + EPSILON)
        return loss

    def save(self, root: Path) -> None:
        """A whole checkpoint: its files first, then the marker renamed into place."""
        folder = root / f"step-{self.step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"p": self.params, "m": self.first, "v": self.second}
        arrays = {f"{a}.{k}": v for a, part in parts.items() for k, v in part.items()}
        with (folder / "state.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, step=self.step, **arrays)
        marker = folder / ".complete.tmp"
        marker.touch()
        marker.rename(folder / ".complete")

    def restore(self, root: Path) -> bool:
        """Go on from the newest whole checkpoint under `root`, if there is one."""
        whole = sorted(p.parent for p in root.glob("*/.complete"))
        if not whole:
            return False
        with np.load(whole[-1] / "state.npz") as held:
            self.step = int(held["step"])
            for name, part in (("p", self.params), ("m", self.first), ("v", self.second)):
                for key in part:
                    part[key] = held[f"{name}.{key}"]
        return True


def main() -> int:
    """Train, tell the loss as it falls, and keep checkpoints; a stop signal saves one more."""
    options = argparse.ArgumentParser(description="a character-level language model on Python's own source")
    options.add_argument("--steps", type=int, default=3_000)
    options.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    root = Path(os.environ.get("MOYAI_CHECKPOINT", "checkpoints"))
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    text = read_text()
    trainer = Trainer(chosen.seed)
    resumed = trainer.restore(root)
    where = os.environ.get("MOYAI_SITE", "here")
    start = f"resumed at step {trainer.step}" if resumed else "new model"
    print(f"{where}: {start}, {len(text):,} characters, {len(CHARS)} symbols", flush=True)
    losses: list[float] = []
    while trainer.step < chosen.steps and not stop:
        losses.append(trainer.train(text, chosen.seed))
        if trainer.step % chosen.every == 0:
            print(f"{where}: step {trainer.step:5d}  loss {np.mean(losses[-chosen.every :]):.3f}", flush=True)
            trainer.save(root)
    if stop:
        trainer.save(root)
        print(f"{where}: asked to stop; saved step {trainer.step}", flush=True)
        return 143
    print(f"{where}: done, loss {np.mean(losses[-chosen.every :]):.3f} nats per character", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
