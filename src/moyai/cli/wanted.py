"""What `run` and `plan` take: a workload file, or the words of a command after `--` with options that describe it."""

import functools
import inspect
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar, cast

import typer
from typer._click.core import Context
from typer.core import TyperCommand

from moyai.client.errors import BadSpec, MoyaiError
from moyai.locale import t

if TYPE_CHECKING:
    from moyai.client import Job

P = ParamSpec("P")
R = TypeVar("R")

_WORDS = "moyai.words"


class JobCommand(TyperCommand):
    """A command that keeps the words after `--` apart: they are the job's."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Take the words after the first `--` away before options are read."""
        if "--" in args:
            at = args.index("--")
            args, words = args[:at], args[at + 1 :]
            ctx.meta[_WORDS] = words
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            line = shlex.join([str(ctx.params.get("file") or ""), *ctx.args])
            ctx.fail(t("cli.run.dashes", word=ctx.args[0], line=line))
        return rest


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for, unread: a file, or a command and its options."""

    file: Path | None
    words: tuple[str, ...]
    options: dict[str, str | tuple[str, ...] | None] = field(default_factory=dict[str, "str | tuple[str, ...] | None"])
    workdir: Path | None = None
    send: bool | None = None  # --workdir, --no-workdir, or neither

    def job(self) -> "Job":
        """The job, checked as far as it can be without a server. Raises BadSpec or MoyaiError."""
        if self.file is not None and self.words:
            raise MoyaiError("bad-input", t("cli.run.both"))
        if self.file is not None:
            return _checked(self._from_file())
        if not self.words:
            raise MoyaiError("bad-input", t("cli.run.nothing"), t("cli.run.nothing-hint"))
        return _checked(self._from_words())

    def alone(self) -> Path:
        """The file, without options that would say the same as it does. Raises MoyaiError."""
        assert self.file is not None
        given = [f"--{key}" for key, value in self.options.items() if value]
        if given or self.send is not None:
            names = ", ".join(given or ["--workdir"])
            raise MoyaiError("bad-input", t("cli.run.options-with-file", options=names), t("cli.run.options-hint"))
        return self.file

    def _from_file(self) -> "Job":
        from moyai.client import Job

        return Job.from_file(self.alone())

    def _from_words(self) -> "Job":
        from moyai.client import Job
        from moyai.client.job import command_line

        o = self.options
        env, problems = _environment(o.get("env") or ())
        if problems:
            raise MoyaiError("bad-input", problems, t("cli.run.env-hint"), "--env")
        return Job(
            command_line(self.words),
            name=str(o.get("name") or ""),
            cpus=_one(o, "cpus"),
            memory=_one(o, "memory"),
            accelerators=_one(o, "accelerators"),
            nodes=_one(o, "nodes"),
            deadline=_one(o, "deadline"),
            expect=_one(o, "expect"),
            limit=_one(o, "limit"),
            retries=_one(o, "retries"),
            priority=_one(o, "priority"),
            residency=[c.strip() for code in o.get("residency") or () for c in code.split(",")] or None,
            data=tuple(o.get("data") or ()),
            checkpoint=bool(o.get("checkpoint")),
            env=env,
            workdir=self.sent(),
        )

    def sent(self) -> Path | None:
        """The directory that goes with a command: the current one, unless it is the whole home or the whole disk."""
        if self.send is False:
            return None
        if self.workdir is not None:
            return self.workdir
        here = Path.cwd()
        if self.send is None and here in (Path.home(), Path("/")):
            return None
        return Path()


def takes_job(function: Callable[Concatenate[Wanted, P], R]) -> Callable[..., R]:
    """A command whose first argument is made from FILE, the words after `--`, and the options that describe a job."""

    call = cast(Callable[..., R], function)  # Typer gives every parameter by its name

    @functools.wraps(function)
    def inner(ctx: typer.Context, **given: Any) -> R:
        shared = {name: given.pop(name) for name in _SHARED}
        return call(_wanted(ctx, **shared), **given)

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *_SHARED.values(), *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own)]
    setattr(inner, "__signature__", inspect.Signature(parameters))  # noqa: B010
    inner.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return inner


def _option(name: str, metavar: str) -> Any:
    return typer.Option(f"--{name}", metavar=metavar, help=t(f"cli.run.{name}"), show_default=False)


def _wanted(
    ctx: typer.Context,
    *,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE | -- COMMAND…", help=t("cli.run.file"), show_default=False)
    ] = None,
    name: Annotated[str | None, _option("name", "NAME")] = None,
    cpus: Annotated[str | None, _option("cpus", "N[+|..M]")] = None,
    memory: Annotated[str | None, _option("memory", "SIZE")] = None,
    accelerators: Annotated[str | None, _option("accelerators", "TYPE:N")] = None,
    nodes: Annotated[str | None, _option("nodes", "N")] = None,
    deadline: Annotated[str | None, _option("deadline", "TIME|SPAN")] = None,
    expect: Annotated[str | None, _option("expect", "SPAN")] = None,
    limit: Annotated[str | None, _option("limit", "SPAN")] = None,
    retries: Annotated[str | None, _option("retries", "N")] = None,
    priority: Annotated[str | None, _option("priority", "N")] = None,
    residency: Annotated[list[str] | None, _option("residency", "CODE")] = None,
    data: Annotated[list[str] | None, _option("data", "DATASET[@N]")] = None,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help=t("cli.run.checkpoint"))] = False,
    env: Annotated[list[str] | None, _option("env", "NAME[=VALUE]")] = None,
    workdir: Annotated[
        Path | None, typer.Option("--workdir", metavar="DIR", help=t("cli.run.workdir"), show_default=False)
    ] = None,
    no_workdir: Annotated[bool, typer.Option("--no-workdir", help=t("cli.run.no-workdir"))] = False,
) -> Wanted:
    options: dict[str, str | tuple[str, ...] | None] = {
        "name": name,
        "cpus": cpus,
        "memory": memory,
        "accelerators": accelerators,
        "nodes": nodes,
        "deadline": deadline,
        "expect": expect,
        "limit": limit,
        "retries": retries,
        "priority": priority,
        "residency": tuple(residency or ()),
        "data": tuple(data or ()),
        "checkpoint": "yes" if checkpoint else None,
        "env": tuple(env or ()),
    }
    if no_workdir and workdir is not None:
        raise typer.BadParameter(t("cli.run.workdir-both"))
    send = False if no_workdir else True if workdir is not None else None
    return Wanted(file, tuple(ctx.meta.get(_WORDS, ())), options, workdir, send)


_SHARED = {name: p for name, p in inspect.signature(_wanted).parameters.items() if name != "ctx"}


def _one(options: dict[str, str | tuple[str, ...] | None], key: str) -> str | None:
    value = options.get(key)
    return value if isinstance(value, str) else None


def _environment(given: "tuple[str, ...] | str") -> tuple[dict[str, str], str]:
    """NAME=VALUE pairs; a NAME alone takes its value from here. The second is what was wrong, "" if nothing."""
    import os

    env: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals and name not in os.environ:
            return {}, t("cli.run.env-unset", name=name)
        env[name] = value if equals else os.environ[name]
    return env, ""


def _checked(job: "Job") -> "Job":
    """The same job, its deadline seen to lie ahead."""
    from moyai.model.specs.problems import SpecError
    from moyai.model.specs.resolve import resolve
    from moyai.model.units import Instant

    try:
        resolve(job.spec, Instant(time.time_ns() // 1_000))
    except SpecError as error:
        raise BadSpec(error.problems, str(error)) from None
    return job
