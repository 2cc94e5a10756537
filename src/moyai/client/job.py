"""`moyai.Job`: a job as a program declares it, with the keys of a workload file as arguments."""

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from moyai.client.archive import Archive, pack
from moyai.client.errors import BadSpec

if TYPE_CHECKING:
    from moyai.model.specs.job import JobSpec

Amount = int | str
"""A number, or a range as in a workload file: "16+", "8..32", "128GiB"."""
Span = timedelta | str
"""A timedelta, or a span as in a workload file: "36h", "1h30m"."""


class Job:
    """A job: what to run and what it needs. `spec` is the same as a workload file's.

    Only what is given is part of it; every other key has the default that `moyai schema` shows. All that is wrong is
    said at once, by a BadSpec.
    """

    __slots__ = ("spec",)

    def __init__(
        self,
        run: str | Sequence[str],
        *,
        name: str = "",
        cpus: Amount | None = None,
        memory: str | None = None,
        accelerators: str | None = None,
        nodes: int | str | None = None,
        deadline: datetime | Span | None = None,
        expect: Span | None = None,
        limit: Span | None = None,
        retries: int | str | None = None,
        priority: int | str | None = None,
        residency: str | Sequence[str] | None = None,
        data: Sequence[str | Mapping[str, str]] = (),
        checkpoint: bool | Mapping[str, str] = False,
        on_partition: str | None = None,
        grace: Span | None = None,
        env: Mapping[str, str] | None = None,
        setup: str | None = None,
        workdir: Path | str | None = None,
    ) -> None:
        """Declare a job.

        run         one shell line, or the words of a command, quoted here
        name        made from the command where it is not given
        deadline    a datetime with its zone, a span from the submission, or either as text
        data        names of datasets ("corpus-ja@3"), or mappings with `dataset`, `mount` and `purpose`
        checkpoint  True where the job keeps its progress in $MOYAI_CHECKPOINT; a mapping says more
        workdir     a directory whose files travel with the job, relative to where this program runs

        The others are as in a workload file. Raises BadSpec with everything that is wrong.
        """
        line = run if isinstance(run, str) else command_line(run)
        given: dict[str, object] = {"name": name or name_of(line), "run": line}
        resources = {"cpus": cpus, "memory": memory, "accelerators": accelerators}
        if any(value is not None for value in resources.values()):
            given["resources"] = {key: value for key, value in resources.items() if value is not None}
        if data:
            given["data"] = [{"dataset": use} if isinstance(use, str) else dict(use) for use in data]
        if checkpoint is not False:
            given["checkpoint"] = {} if checkpoint is True else dict(checkpoint)
        optional: dict[str, object] = {
            "nodes": nodes,
            "deadline": _text(deadline),
            "expect": _text(expect),
            "limit": _text(limit),
            "retries": retries,
            "priority": priority,
            "residency": [residency] if isinstance(residency, str) else residency and list(residency),
            "on_partition": on_partition,
            "grace": _text(grace),
            "env": dict(env) if env else None,
            "setup": setup,
            "workdir": None if workdir is None else str(workdir),
        }
        given.update({key: value for key, value in optional.items() if value is not None})
        self.spec: JobSpec = _spec(given)

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """The job in a workload file. Raises BadSpec with every problem, each with its line."""
        from moyai.model.specs.job import JobSpec
        from moyai.model.specs.problems import SpecError

        try:
            return cls.of(JobSpec.from_file(Path(path)))
        except SpecError as error:
            raise BadSpec(error.problems, str(error)) from None

    @classmethod
    def of(cls, spec: "JobSpec") -> Self:
        """The job of a spec that was read already."""
        made = cls.__new__(cls)
        made.spec = spec
        return made

    @property
    def workdir(self) -> Path | None:
        """The directory that travels with it: relative to its file, or to where the program runs."""
        if self.spec.workdir is None:
            return None
        file = self.spec.source.file
        return (Path(file).parent if file else Path()) / Path(self.spec.workdir).expanduser()

    def pack(self, exclude: tuple[Path, ...] = ()) -> Archive | None:
        """The archive of the directory that travels with it, without `exclude`; None where none does.

        Raises MoyaiError "not-a-directory", "too-large" or "unreadable".
        """
        return None if self.workdir is None else pack(self.workdir, exclude)

    def __repr__(self) -> str:
        return f"Job({self.spec.run!r}, name={self.spec.name!r})"


def command_line(words: Sequence[str]) -> str:
    """The shell line for the words of a command. A single word with a blank in it is a line already: 'a; b | c'."""
    if len(words) == 1 and re.search(r"\s", words[0]):
        return words[0]
    return shlex.join(words)


def name_of(line: str) -> str:
    """A name for a command that was given none: its program, or the script that an interpreter runs."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    words = [word for word in words if "=" not in word] or ["job"]
    chosen = words[0]
    if re.fullmatch(r"(python|bash|sh|node|ruby|perl|Rscript|julia)[0-9.]*", Path(chosen).name):
        script = next((word for word in words[1:] if not word.startswith("-")), chosen)
        chosen = script if " " not in script else chosen
    stem = Path(chosen).name.rsplit(".", 1)[0] or "job"
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40].strip("-") or "job"


def _spec(given: Mapping[str, object]) -> "JobSpec":
    from moyai.model.specs.job import JobSpec
    from moyai.model.specs.problems import SpecError

    try:
        return JobSpec.from_data(given)
    except SpecError as error:
        raise BadSpec(error.problems, str(error)) from None


def _text(value: datetime | timedelta | str | None) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value // timedelta(microseconds=1)}us"
    return value
