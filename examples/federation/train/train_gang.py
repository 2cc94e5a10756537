"""Train a small network on a sine, data-parallel over the ranks of a gang, with checkpoints in Moyai's manner.

With torch: DistributedDataParallel over gloo. Without: the same model and the same steps over plain sockets, counted by
NumPy where it is, else by Python alone. A checkpoint of one can be gone on from by the other, with any number of ranks.

The ranks find each other by $MOYAI_HOSTS where the engine gives it (the hosts of the ranks, in order), else by a file
in the working directory, which engines with one directory for all nodes share.
"""

import hashlib
import json
import math
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

HIDDEN = 12
RATE = 0.05
XS = [i / 16 - 2 for i in range(65)]
YS = [math.sin(x * 1.5) for x in XS]
SIZE = 3 * HIDDEN + 1
"""Weights into the hidden layer, its biases, weights out of it, the last bias: one list of numbers."""
MEET_S = 60
RANK, RANKS = int(os.environ.get("MOYAI_RANK", "0")), int(os.environ.get("MOYAI_NODES", "1"))
NONCE = os.environ.get("MOYAI_NONCE", "alone")


def fresh():
    """Weights to start from: as good as chance here, and the same on every rank."""
    return [math.sin(7 * j + 1) for j in range(SIZE - 1)] + [0.0]


# -- how the ranks meet ------------------------------------------------------------------------------------------------


def address():
    """(host, port) of rank 0. Rank 0 chooses its port; the others learn it."""
    hosts = os.environ.get("MOYAI_HOSTS")
    if hosts:  # no shared directory: the port follows from what all ranks know
        seed = int(hashlib.sha256(NONCE.encode()).hexdigest(), 16)
        return hosts.split(",")[0], 20_000 + seed % 12_000
    place = Path(f"meet-{NONCE}.json")
    if RANK == 0:
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        Path(f"{place}.tmp").write_text(json.dumps([socket.gethostname(), port]))
        os.rename(f"{place}.tmp", place)
    end = time.monotonic() + MEET_S
    while not place.exists():
        if time.monotonic() > end:
            sys.exit(f"rank {RANK}: rank 0 did not write {place}")
        time.sleep(0.05)
    host, port = json.loads(place.read_text())
    return ("127.0.0.1" if host == socket.gethostname() else host), port


class Sockets:
    """Sums over all ranks: rank 0 adds up what the others send, in their order, and sends the sum back."""

    def __init__(self):
        self.peers = []
        if RANKS == 1:
            return
        host, port = address()
        if RANK == 0:
            self._welcome(port)
        else:
            self.peers = [self._join(host, port)]

    def _welcome(self, port):
        found = {}
        server = socket.create_server(("", port))
        server.settimeout(MEET_S)
        while len(found) < RANKS - 1:
            peer, _ = server.accept()
            peer.settimeout(MEET_S)
            words = peer.recv(256).decode("utf-8", "replace").split()
            if len(words) == 2 and words[0] == NONCE and words[1].isdecimal() and 0 < int(words[1]) < RANKS:
                peer.sendall(b"+")
                found[int(words[1])] = peer
            else:
                peer.close()  # somebody else
        server.close()
        self.peers = [found[rank] for rank in sorted(found)]

    def _join(self, host, port):
        end = time.monotonic() + MEET_S
        while True:
            try:
                peer = socket.create_connection((host, port), 5)
                peer.settimeout(MEET_S)
                peer.sendall(f"{NONCE} {RANK}".encode())
                if peer.recv(1) == b"+":
                    return peer
                peer.close()
            except OSError:
                pass
            if time.monotonic() > end:
                sys.exit(f"rank {RANK}: rank 0 can't be reached at {host}:{port}")
            time.sleep(0.05)

    def sums(self, values):
        """The sum of `values` over all ranks, the same bits on each."""
        form = struct.Struct(f"<{len(values)}d")
        if RANK == 0:
            for peer in self.peers:
                values = [a + b for a, b in zip(values, form.unpack(self._read(peer, form.size)), strict=True)]
            for peer in self.peers:
                peer.sendall(form.pack(*values))
            return values
        for peer in self.peers:
            peer.sendall(form.pack(*values))
            values = list(form.unpack(self._read(peer, form.size)))
        return values

    @staticmethod
    def _read(peer, size):
        data = b""
        while len(data) < size:
            more = peer.recv(size - len(data))
            if not more:
                raise ConnectionError("the line is closed")
            data += more
        return data


# -- the model, twice --------------------------------------------------------------------------------------------------


class Plain:
    """Without torch. `step` moves the weights by the gradient over all points of all ranks."""

    name = "sockets"

    def __init__(self, weights):
        self.weights = weights
        self.ranks = Sockets()
        self.mine = list(zip(XS, YS, strict=True))[RANK::RANKS]
        try:
            import numpy
        except ImportError:
            self.numpy = None
        else:
            self.numpy = numpy
            self.name = "sockets and NumPy"

    def step(self, save, end):
        """One step. Returns the loss before it, and whether any rank wants to save or to end."""
        gradient, loss = self._vectors() if self.numpy else self._loops()
        *gradient, loss, save, end = self.ranks.sums([*gradient, loss, float(save), float(end)])
        self.weights = [w - RATE * g / len(XS) for w, g in zip(self.weights, gradient, strict=True)]
        return loss / len(XS), save > 0, end > 0

    def _vectors(self):
        np = self.numpy
        xs, ys = np.array(self.mine).T
        w, b, v = np.array(self.weights[:-1]).reshape(3, HIDDEN)
        hidden = np.tanh(np.outer(xs, w) + b)
        error = hidden @ v + self.weights[-1] - ys
        slope = 2 * error[:, None] * v * (1 - hidden**2)
        parts = (slope.T @ xs, slope.sum(0), 2 * hidden.T @ error, [2 * error.sum()])
        return np.concatenate(parts).tolist(), float(error @ error)

    def _loops(self):
        w, b, v = (self.weights[i * HIDDEN : (i + 1) * HIDDEN] for i in range(3))
        gradient, loss = [0.0] * SIZE, 0.0
        for x, y in self.mine:
            hidden = [math.tanh(w[j] * x + b[j]) for j in range(HIDDEN)]
            error = sum(v[j] * hidden[j] for j in range(HIDDEN)) + self.weights[-1] - y
            loss += error * error
            gradient[-1] += 2 * error
            for j in range(HIDDEN):
                slope = 2 * error * v[j] * (1 - hidden[j] * hidden[j])
                gradient[j] += slope * x
                gradient[HIDDEN + j] += slope
                gradient[2 * HIDDEN + j] += 2 * error * hidden[j]
        return gradient, loss


class Torch:
    """With torch: DDP averages the gradients of the ranks, so each scales its loss to its share of the points."""

    name = "torch DDP"

    def __init__(self, torch, weights):
        import torch.distributed as ranks

        self.torch, self.dist = torch, ranks
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        host, port = address() if RANKS > 1 else ("127.0.0.1", 0)
        if host == "127.0.0.1":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        self.model = torch.nn.Sequential(torch.nn.Linear(1, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 1))
        self.weights = weights
        self.ddp = self.model
        if RANKS > 1:
            ranks.init_process_group("gloo", init_method=f"tcp://{host}:{port}", rank=RANK, world_size=RANKS)
            self.ddp = torch.nn.parallel.DistributedDataParallel(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), RATE)
        self.xs = torch.tensor(XS[RANK::RANKS]).unsqueeze(1)
        self.ys = torch.tensor(YS[RANK::RANKS]).unsqueeze(1)

    @property
    def weights(self):
        """As one list."""
        return [value for part in self.model.parameters() for value in part.detach().flatten().tolist()]

    @weights.setter
    def weights(self, values):
        at = 0
        with self.torch.no_grad():
            for part in self.model.parameters():
                part.copy_(self.torch.tensor(values[at : at + part.numel()]).reshape(part.shape))
                at += part.numel()

    def step(self, save, end):
        """One step. Returns the loss before it, and whether any rank wants to save or to end."""
        self.optimizer.zero_grad()
        squares = ((self.ddp(self.xs) - self.ys) ** 2).sum()
        (squares * RANKS / len(XS)).backward()
        self.optimizer.step()
        told = self.torch.tensor([float(squares.detach()), float(save), float(end)])
        if RANKS > 1:
            self.dist.all_reduce(told)
        loss, save, end = told.tolist()
        return loss / len(XS), save > 0, end > 0


def model(weights):
    """The model with these weights, by torch where it is and $PLAIN is not set."""
    if not os.environ.get("PLAIN"):
        try:
            import torch
        except ImportError:
            return Plain(weights)
        return Torch(torch, weights)
    return Plain(weights)


# -- checkpoints -------------------------------------------------------------------------------------------------------


def save(root, step, weights):
    """Write a checkpoint: the content first, the marker's rename last."""
    place = root / f"step-{step:06}"
    if (place / ".complete").exists():
        return
    place.mkdir(parents=True, exist_ok=True)
    for name, text in (("state.json", json.dumps({"step": step, "weights": weights})), (".complete.tmp", "")):
        with open(place / name, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    os.rename(place / ".complete.tmp", place / ".complete")
    print(f"checkpoint {place.name}", flush=True)


def restored(root):
    """(step, weights) of the newest complete checkpoint that was restored, or of a fresh start."""
    complete = sorted(marker.parent for marker in root.glob("*/.complete")) if root else []
    if not complete or os.environ.get("MOYAI_RESTORED") != "1":  # a rank that is late must not take what another wrote
        return 0, fresh()
    state = json.loads((complete[-1] / "state.json").read_text("utf-8"))
    if RANK == 0:
        print(f"resumed from {complete[-1].name}", flush=True)
    return state["step"], state["weights"]


def main():
    """Train up to $STEPS steps. Returns the exit code: 0 when done, 143 when asked to end before."""
    root = Path(os.environ["MOYAI_CHECKPOINT"]) if "MOYAI_CHECKPOINT" in os.environ else None
    steps, every = int(os.environ.get("STEPS", "3000")), int(os.environ.get("EVERY", "250"))
    pause_s = float(os.environ.get("PAUSE_MS", "0")) / 1_000
    wanted = {"save": False, "end": False}
    signal.signal(signal.SIGUSR1, lambda number, frame: wanted.update(save=True))
    signal.signal(signal.SIGTERM, lambda number, frame: wanted.update(end=True))
    step, weights = restored(root)
    net = model(weights)
    if RANK == 0:
        print(f"{RANKS} ranks by {net.name}, from step {step}", flush=True)
    while step < steps:
        asked, wanted["save"] = wanted["save"], False
        try:
            loss, saving, ending = net.step(asked, wanted["end"])  # all ranks learn it in the same step
        except ConnectionError:
            sys.exit(f"rank {RANK}: another rank is gone")
        step += 1
        regular = step % every == 0 or step == steps
        if RANK == 0 and regular:
            print(f"step {step} loss {loss:.5f}", flush=True)
        if RANK == 0 and root and (regular or saving or ending):
            save(root, step, net.weights)
        if ending and step < steps:
            return 143
        time.sleep(pause_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
