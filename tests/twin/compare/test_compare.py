"""Tasks, one by one or over several processes."""

import multiprocessing
from pathlib import Path

import pytest

from moyai.twin.compare.task import Run, Source, Task, make_setup, run
from moyai.twin.compare.workers import TaskFailed, each
from moyai.twin.policies import UnknownPolicy
from twin.compare.tricks import dies_at_3, double, fails_at_3
from twin.scenarios.small import TEXT


@pytest.fixture
def source(tmp_path: Path) -> Source:
    file = tmp_path / "s.yaml"
    file.write_text(TEXT, "utf-8")
    return Source(str(file))


@pytest.mark.parametrize("at_once", [1, 2])
def test_every_task_is_done_once_and_progress_ends_at_1(at_once: int) -> None:
    heard: list[float] = []
    found = dict(each(double, range(7), at_once, heard.append))
    assert found == {task: 2 * task for task in range(7)}
    assert heard[-1] == 1.0
    assert all(0 <= share <= 1 for share in heard)


def test_a_failure_in_a_worker_is_told_with_its_task() -> None:
    with pytest.raises(TaskFailed, match=r"(?s)^3: .*three is too many"):
        list(each(fails_at_3, range(5), 2))
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_is_noticed() -> None:
    with pytest.raises(TaskFailed, match="3: its process ended with"):
        list(each(dies_at_3, range(5), 2))
    assert not multiprocessing.active_children()


def test_a_comparison_that_is_left_ends_its_processes() -> None:
    found = each(double, range(50), 2)
    next(found)
    found.close()
    assert not multiprocessing.active_children()


def test_equal_tasks_give_equal_logs(source: Source) -> None:
    task = Task("edf", "noisy", 3)
    one, other = run(source, task), run(source, task)
    assert one.head == other.head
    assert run(source, Task("edf", "noisy", 4)).head != one.head
    assert one.jobs == other.jobs
    assert one.sites == ("east", "west")


def test_policies_of_one_seed_see_the_same_jobs(source: Source) -> None:
    assert make_setup(source, Task("fifo", "exact", 1)) is make_setup(source, Task("edf", "exact", 1))


def test_an_unknown_policy(source: Source) -> None:
    with pytest.raises(UnknownPolicy, match="choose from moyai"):
        run(source, Task("best", "exact", 0))


def test_a_run_can_be_sent_to_another_process(source: Source) -> None:
    import pickle

    done = run(source, Task("fifo", "exact", 0))
    assert isinstance(done, Run)
    assert pickle.loads(pickle.dumps(done)).head == done.head
