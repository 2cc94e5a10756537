"""Tasks over several processes. A worker takes one task at a time; an interrupt ends all of them at once."""

import signal
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
Work = Callable[[_Task, Callable[[float], None]], _Result]
"""Does a task and says how far it is, from 0 to 1. It must be a function of a module, and can be sent to a process."""

WAIT_S = 0.25


class TaskFailed(Exception):
    """A task failed for a reason that nobody foresaw; the text is the worker's own account."""


def each(
    work: "Work[_Task, _Result]",
    tasks: Sequence[_Task],
    at_once: int,
    tell: Callable[[float], None] | None = None,
) -> Generator[tuple[_Task, _Result]]:
    """Every task with its result, as they come; `tell` hears the share of all work that is done.

    at_once  processes; with 1, all is done in this one

    Raises TaskFailed where a worker fails, and what `work` raises where there is none.
    """
    heard = tell or _silent
    if min(at_once, len(tasks)) <= 1:
        for number, task in enumerate(tasks):
            yield task, work(task, lambda share, number=number: heard((number + share) / len(tasks)))
        heard(1.0)
        return
    with _workers(work, min(at_once, len(tasks))) as workers:
        yield from _dealt(workers, tasks, heard)


def _dealt(
    workers: Sequence[tuple[BaseProcess, Connection]], tasks: Sequence[_Task], heard: Callable[[float], None]
) -> Generator[tuple[_Task, Any]]:
    todo = list(range(len(tasks)))[::-1]
    doing: dict[int, int] = {}  # worker → task
    shares = [0.0] * len(tasks)
    pipes = {id(pipe): number for number, (_, pipe) in enumerate(workers)}

    def give(number: int) -> None:
        if todo:
            doing[number] = todo.pop()
            workers[number][1].send(tasks[doing[number]])

    for number in range(len(workers)):
        give(number)
    while doing:
        for ready in connection.wait([workers[number][1] for number in doing], WAIT_S):
            assert isinstance(ready, Connection)
            number = pipes[id(ready)]
            index = doing[number]
            try:
                said: Any = ready.recv()
            except (EOFError, OSError):
                workers[number][0].join(1)
                code = workers[number][0].exitcode
                raise TaskFailed(f"{tasks[index]}: its process ended with {code}; is there memory enough?") from None
            if isinstance(said, float):
                shares[index] = said
            elif isinstance(said, str):
                raise TaskFailed(f"{tasks[index]}: {said}")
            else:
                shares[index] = 1.0
                del doing[number]
                give(number)
                yield tasks[index], said[0]
        heard(sum(shares) / len(tasks))


@contextmanager
def _workers(work: "Work[_Task, _Result]", count: int) -> Generator[list[tuple[BaseProcess, Connection]]]:
    context = get_context("spawn")
    started: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(count):
            mine, its = context.Pipe()
            process = context.Process(target=_worker, args=(its, work), daemon=True)
            process.start()
            its.close()
            started.append((process, mine))
        yield started
    finally:
        for process, _ in started:
            process.kill()
        for process, pipe in started:
            process.join()
            pipe.close()


def _worker(pipe: Connection, work: "Work[_Task, object]") -> None:
    """Does what comes through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends this process
    while True:
        try:
            task: _Task = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((work(task, pipe.send),))
        except BrokenPipeError:
            return
        except Exception:  # noqa: BLE001 - it is passed on, whole, to the parent
            pipe.send(traceback.format_exc())
            return


def _silent(_: float) -> None:
    pass
