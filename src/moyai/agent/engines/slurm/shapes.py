"""What slurmrestd takes and gives, one class for each version of its API. A new version is one more class here.

Raw JSON comes in as `object`; what is not as a version says raises BadShape.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, cast

from moyai.agent.engines.batch.base import Phase
from moyai.agent.engines.slurm.states import phase
from moyai.agent.engines.slurm.types import SlurmJob, SlurmNode, SlurmOrder

T = TypeVar("T", int, str)


class BadShape(Exception):
    """The answer is not as this version of the API says."""


class Shape(Protocol):
    """One version."""

    version: str

    def submit(self, order: SlurmOrder) -> dict[str, object]:
        """The body of a submit."""
        ...

    def number(self, answer: object) -> str:
        """The number of the job that was submitted. Raises BadShape."""
        ...

    def jobs(self, answer: object) -> list[SlurmJob]:
        """The jobs of a listing. Raises BadShape."""
        ...

    def nodes(self, answer: object) -> list[SlurmNode]:
        """The nodes of a listing. Raises BadShape."""
        ...

    def errors(self, answer: object) -> list[tuple[int, str]]:
        """(number, words) of the errors that an answer tells; none where it is no such answer."""
        ...


class V0038:
    """v0.0.38: Slurm 22.05 and 23.02."""

    version = "v0.0.38"

    def submit(self, order: SlurmOrder) -> dict[str, object]:
        """The environment must be there and not be empty. Memory is in MiB, the limit in minutes."""
        job: dict[str, object] = {
            "name": order.name,
            "comment": order.name,
            "current_working_directory": order.directory,
            "standard_output": order.output,
            "standard_error": order.output,
            "environment": dict(order.environment),
            "no_requeue": True,  # "requeue": False is taken, and not heeded
            "nodes": [order.nodes, order.nodes],
            "tasks": order.tasks,
            "tasks_per_node": order.tasks_per_node,
            "cpus_per_task": order.cpus_per_task,
            "memory_per_node": order.memory_mib,
        }
        optional: dict[str, object] = {
            "gres": order.gres,
            "time_limit": order.limit_minutes,
            "partition": order.partition,
            "constraints": order.constraint,
            "signal": order.signal,
        }
        return {"script": order.script, "job": job | {name: value for name, value in optional.items() if value}}

    def number(self, answer: object) -> str:
        """Its `job_id`."""
        return str(_field(_table(answer), "job_id", int))

    def jobs(self, answer: object) -> list[SlurmJob]:
        """Each of `jobs`."""
        return [self._job(_table(raw)) for raw in _list(_table(answer), "jobs")]

    def _job(self, raw: Mapping[str, object]) -> SlurmJob:
        state = _field(raw, "job_state", str)
        start, end = _number(raw.get("start_time")), _number(raw.get("end_time"))  # those to come are told too
        where = phase(state)
        started, ended = (start if where is not Phase.QUEUED else 0), (end if where is Phase.ENDED else 0)
        return SlurmJob(
            number=str(_field(raw, "job_id", int)),
            name=_field(raw, "name", str),
            user=_field(raw, "user_name", str),
            state=state,
            directory=_field(raw, "current_working_directory", str),
            exit_status=_number(raw.get("exit_code")),
            detail=_words(raw, "state_reason"),
            nodes=_words(raw, "nodes"),
            preempted=_number(raw.get("preempt_time")) > 0,
            run_us=max(0, ended - started) * 1_000_000 if started and ended else 0,
            cpus=_number(raw.get("cpus")),
            touched_s=max(started, ended, _number(raw.get("submit_time")), _number(raw.get("last_sched_evaluation"))),
        )

    def nodes(self, answer: object) -> list[SlurmNode]:
        """Each of `nodes`."""
        return [self._node(_table(raw)) for raw in _list(_table(answer), "nodes")]

    def _node(self, raw: Mapping[str, object]) -> SlurmNode:
        flags = [str(flag) for flag in _list(raw, "state_flags")]
        return SlurmNode(
            name=_field(raw, "name", str),
            state="+".join([_field(raw, "state", str), *flags]).lower(),
            partitions=tuple(str(name) for name in _list(raw, "partitions")),
            features=tuple(part for part in _words(raw, "active_features").split(",") if part),
            gres=_words(raw, "gres"),
            cpus=_field(raw, "cpus", int),
            memory_mib=_field(raw, "real_memory", int),
        )

    def errors(self, answer: object) -> list[tuple[int, str]]:
        """Each of `errors`, whose number is called `error_code` or `error_number`."""
        try:
            listed = [_table(raw) for raw in _list(_table(answer), "errors")]
        except BadShape:
            return []
        found: list[tuple[int, str]] = []
        for raw in listed:
            words = [_words(raw, name) for name in ("description", "error")]
            number = _number(raw.get("error_code", raw.get("error_number")))
            found.append((number, ": ".join(word for word in words if word)))
        return found


KNOWN: Mapping[str, Callable[[], Shape]] = {V0038.version: V0038}
"""version → its shape."""


def _table(raw: object) -> Mapping[str, object]:
    if not isinstance(raw, dict):
        raise BadShape(f"{str(raw)[:40]!r} is no object")
    return cast("Mapping[str, object]", raw)


def _list(raw: Mapping[str, object], name: str) -> list[object]:
    value = raw.get(name)
    if not isinstance(value, list):
        raise BadShape(f"{name!r} is no list")
    return cast("list[object]", value)


def _field(raw: Mapping[str, object], name: str, kind: type[T]) -> T:
    value = raw.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadShape(f"{name!r} is {str(value)[:40]!r}")
    return value


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _words(raw: Mapping[str, object], name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""
