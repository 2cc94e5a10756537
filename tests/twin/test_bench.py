"""The run without faults that the benchmark times."""

from moyai.plan.place import plan
from moyai.twin.bench import run_events


def test_all_jobs_end_and_the_log_is_the_same_each_time() -> None:
    ran = run_events(40, plan, nodes=2, at_once=30)
    assert ran.jobs_ended == 40
    assert ran.events >= 5 * 40
    assert run_events(40, plan, nodes=2, at_once=30) == ran
