"""The trace of a job: its ids follow from the job's and the attempt's own, so that nobody needs to keep or send them.

Every process that has to do with a job can add a span to its trace, whenever it comes to know of something.
"""

import hashlib

from moyai.model.ids import AttemptId, JobId


def trace_of(job: JobId) -> int:
    """The trace of a job: 128 bits, never 0."""
    return _bits("trace", job, 16)


def span_of(subject: JobId | AttemptId) -> int:
    """The span that is the whole life of a job, or of one attempt: 64 bits, never 0."""
    return _bits("span", subject, 8)


def _bits(kind: str, subject: str, size: int) -> int:
    digest = hashlib.sha256(f"moyai {kind} {subject}".encode()).digest()
    return int.from_bytes(digest[:size]) or 1
