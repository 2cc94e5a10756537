"""Which job goes first. Priority goes before everything, then the policy's own order, then who came first."""

from moyai.plan.pack import FOREVER
from moyai.plan.types import QueuedJob
from moyai.twin.policies.book import Key


def fifo(job: QueuedJob) -> Key:
    """First come, first served."""
    return -job.order.priority, job.submitted_at, job.job


def edf(job: QueuedJob) -> Key:
    """The earliest deadline first; those without one last. Source: Liu & Layland, JACM 1973."""
    return -job.order.priority, job.order.deadline or FOREVER, job.submitted_at, job.job


def sjf(job: QueuedJob) -> Key:
    """The shortest first."""
    return -job.order.priority, job.run_us, job.submitted_at, job.job
