"""How an error is said: one line for a person's mistake, JSON where `--json` was asked for, never a stack trace."""

import functools
import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer

from moyai.client.errors import BadSpec, MoyaiError
from moyai.locale import t

if TYPE_CHECKING:
    from moyai.model.specs.problems import Problem

P = ParamSpec("P")
R = TypeVar("R")

OK = 0
DECLINED = 1
BAD_INPUT = 2
NO_END_OF_ITS_OWN = 3
UNREACHABLE = 4
UNEXPECTED = 70
INTERRUPTED = 130
"""The exit codes; docs/cli.md says what each means."""

_FLAGS = {
    "run": "--",
    "resources.cpus": "--cpus",
    "resources.memory": "--memory",
    "resources.accelerators": "--accelerators",
}
"""The option behind a key of a spec, where it is not "--" and the key's first word."""
_NO_ANSWER = frozenset({"unreachable", "timeout"})


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """A command whose MoyaiErrors become a message and an exit code. Its `as_json` parameter says how to word them."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MoyaiError as error:
            show(error, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(code_of(error)) from None

    return inner


def code_of(error: MoyaiError) -> int:
    """The exit code for an error: 2 for what a person can mend, a full disk included; 4 where no server answers."""
    away = error.code in _NO_ANSWER or error.status >= 500
    return UNREACHABLE if away and error.code != "read-only" else BAD_INPUT


def show(error: MoyaiError, as_json: bool) -> None:
    """Say an error on stderr, each problem on a line of its own; or as one JSON document on stdout."""
    if as_json:
        typer.echo(json.dumps({"error": _document(error)}, ensure_ascii=False))
        return
    if isinstance(error, BadSpec):
        for problem in error.problems:
            typer.echo(f"{t('cli.error')}: {_problem(problem)}", err=True)
        return
    where = f"{error.where}: " if error.where else ""
    first, *rest = error.message.splitlines() or [""]
    typer.echo(f"{t('cli.error')}: {where}{first}", err=True)
    for line in [*rest, *error.hint.splitlines()]:
        typer.echo(f"  {line}", err=True)


def _document(error: MoyaiError) -> dict[str, object]:
    body: dict[str, object] = {"code": error.code, "message": error.message}
    body |= {key: value for key, value in (("where", error.where), ("hint", error.hint)) if value}
    if isinstance(error, BadSpec):
        body["problems"] = [{"where": p.where, "key": p.key, "message": p.said, "hint": p.hint} for p in error.problems]
    return body


def _problem(problem: "Problem") -> str:
    """A problem of a file as it is; of what came from the command line, by the option that it came from."""
    if problem.file or not problem.key:
        return str(problem)
    key = problem.key.partition("[")[0]
    flag = _FLAGS.get(key) or f"--{key.partition('.')[0]}"
    return f"{flag}: {problem.said}; {problem.hint}" if problem.hint else f"{flag}: {problem.said}"


def unexpected(error: BaseException) -> int:
    """Write the details of an error that nobody foresaw to a file of its own; say one line. Returns the exit code."""
    said = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="moyai-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"{sys.argv}\n{said}")
        where = file.name
    except OSError:
        where = ""
    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    typer.echo(t("cli.unexpected", what=what, where=where) if where else what, err=True)
    return UNEXPECTED
