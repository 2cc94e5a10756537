"""Run a workflow under a policy and see what moved."""

from collections.abc import Sequence
from dataclasses import dataclass

from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.lifecycle import WorkflowState
from moyai.plan.types import Planner
from moyai.twin.replay.outcome import Outcome
from moyai.twin.replay.run import replay
from moyai.twin.replay.setup import Setup


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a workflow under one policy."""

    outcome: Outcome
    state: WorkflowState | None  # None: it never ended
    makespan_us: int  # from its submission to the end of its last task
    moves: int  # transfers that brought something
    moved_bytes: int
    dropped: int  # copies of files that control let go when no task needed them
    held_bytes: int  # the most that files of the workflow took on all disks together
    left_bytes: int  # of them at the end, those that control let go aside


class _Watch:
    """Counts what moves, and what lies where, by reading the log."""

    def __init__(self) -> None:
        self.state: WorkflowState | None = None
        self.moves = self.dropped = self.held = self.most = self.leaving = 0
        self._sizes: dict[str, int] = {}  # manifests of files
        self._at: set[tuple[str, str]] = set()  # (manifest, site); asked for membership alone
        self._attempts: dict[str, str] = {}
        self._moving: dict[str, tuple[str, str]] = {}

    def __call__(self, records: Sequence[Record]) -> None:
        """See records as they come."""
        for record in records:
            body = record.body
            match body:
                case e.AttemptIssued():
                    self._attempts[body.attempt] = body.placement.site
                case e.FileStored():
                    self._sizes[body.manifest] = body.size_bytes
                    self._add(body.manifest, self._attempts[body.attempt])
                case e.TransferIssued():
                    self._moving[body.transfer] = (body.manifest, body.target)
                case e.TransferEnded():
                    manifest, site = self._moving.pop(body.transfer)
                    self.moves += bool(body.moved_bytes) or body.stored
                    if body.stored:
                        self._add(manifest, site)
                case e.ReplicaDropRequested():
                    self._let_go(body.manifest, body.site)
                case e.ReplicaDropped():
                    self._drop(body.manifest, body.site)
                case e.WorkflowEnded():
                    self.state = body.state
                case _:
                    pass

    def _add(self, manifest: str, site: str) -> None:
        if manifest in self._sizes and (manifest, site) not in self._at:
            self._at.add((manifest, site))
            self.held += self._sizes[manifest]
            self.most = max(self.most, self.held)

    def _drop(self, manifest: str, site: str) -> None:
        if (manifest, site) in self._at:
            self._at.remove((manifest, site))
            self.held -= self._sizes[manifest]
            self.leaving -= self._sizes[manifest]

    def _let_go(self, manifest: str, site: str) -> None:
        if (manifest, site) in self._at:
            self.leaving += self._sizes[manifest]
            self.dropped += 1


def run(setup: Setup, planner: Planner, policy: str, seed: int = 0) -> Ran:
    """Replay a setup with one workflow. Raises as `replay` does."""
    watch = _Watch()
    outcome = replay(setup, planner, policy=policy, seed=seed, watch=watch)
    ended = [row.ended_us for row in outcome.jobs if row.ended_us is not None]
    return Ran(
        outcome=outcome,
        state=watch.state,
        makespan_us=max(ended, default=0) - setup.workflows[0].at_us,
        moves=watch.moves,
        moved_bytes=outcome.wan_bytes,
        dropped=watch.dropped,
        held_bytes=watch.most,
        left_bytes=watch.held - watch.leaving,
    )
