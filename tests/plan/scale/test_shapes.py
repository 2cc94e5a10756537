"""Shapes put together from parts say what the hard rules say of each site by itself."""

from collections import Counter

from hypothesis import given, settings

from moyai.model.reasons import Code, Considered
from moyai.model.units import MICRO_YEN
from moyai.plan.problem import job_class, site_options
from moyai.plan.scale.shapes import Parts, columns_of, data_key, make_of, rules_problem, shape_of
from moyai.plan.types import Policy
from plan.test_plan_random import fleets, queues
from plan.world import NOW


@settings(max_examples=80, deadline=None)
@given(fleets(), queues(6))
def test_a_shape_is_what_the_rules_allow(snapshot, queue):
    columns = columns_of(snapshot.sites)
    problem = rules_problem(columns, snapshot, NOW, Policy())
    parts = Parts(problem, columns)
    for job in queue:
        shape = shape_of(parts, job, make_of(job, data_key(job.data)))
        cls = job_class(job, problem.now, problem.policy)
        cls.jobs.append(job)
        for s, view in enumerate(columns.sites):
            found = site_options(problem, cls, view, Counter())
            row = shape.excluded[s]
            if isinstance(found, Considered):
                assert row == found
                assert not shape.feasible[s * columns.width : (s + 1) * columns.width].any()
                continue
            assert row is None or row.reason.code in {Code.LAUNCH_FAILED, Code.AVOIDED}
            for column in range(s * columns.width, (s + 1) * columns.width):
                if not shape.feasible[column]:
                    continue
                at = columns.at(column)
                assert at is not None
                assert row is None
                mine = [o for o in found if o.flavor.name == at[1].name]
                assert (shape.restore[column], shape.moves[column]) in [
                    ((o.restore, o.covered_us), o.moves) for o in mine
                ]
                assert {o.power_w for o in mine} == {shape.power_w[column]}
                egress = sum(m.egress_micro_yen for m in shape.moves[column]) / MICRO_YEN
                assert abs(shape.egress[column] - egress) < 1e-9
        plain = job.order.need.accelerators or job.avoid or job.resumes
        if not plain and shape.feasible.any():
            open_ = [not isinstance(site_options(problem, cls, v, Counter()), Considered) for v in columns.sites]
            some = shape.feasible.reshape(len(open_), -1).any(1)
            assert all(o for o, f in zip(open_, some, strict=True) if f)
