"""Names and identifiers. An id comes from the request or from (parent, ordinal), never from chance."""

import hashlib
from typing import NewType

SiteName = NewType("SiteName", str)
FlavorName = NewType("FlavorName", str)
TenantName = NewType("TenantName", str)
ProjectName = NewType("ProjectName", str)
DatasetName = NewType("DatasetName", str)
NodeName = NewType("NodeName", str)
JobId = NewType("JobId", str)
WorkflowId = NewType("WorkflowId", str)
AttemptId = NewType("AttemptId", str)
"""`<job>.<ordinal>`: the fencing token, and the key under which an engine finds the attempt again."""
TransferId = NewType("TransferId", str)
ManifestId = NewType("ManifestId", str)
"""BLAKE3 of a manifest's canonical bytes, in hex: the content address of a tree of files."""
BlobId = NewType("BlobId", str)
"""BLAKE3 of a blob's bytes, in hex."""
TextRef = NewType("TextRef", str)
"""Keyed hash of a tenant's sealed text: what the log knows of it."""

CONTROL_SITE = SiteName("control")
"""Where a blob that a client handed to the control plane lies; no site may take this name."""


def job_id(tenant: TenantName, project: ProjectName, name: str, request: str) -> JobId:
    """The id of the job that `request` (its idempotency key) submits: its name and ten hex digits."""
    digest = hashlib.sha256("\0".join((tenant, project, name, request)).encode()).hexdigest()
    return JobId(f"{name}-{digest[:10]}")


def attempt_id(job: JobId, ordinal: int) -> AttemptId:
    """The id of the `ordinal`-th attempt (from 1) at `job`."""
    return AttemptId(f"{job}.{ordinal}")


def job_of(attempt: AttemptId) -> JobId:
    """The job that `attempt` tries to run. Raises ValueError where the id has no ordinal."""
    job, dot, ordinal = attempt.rpartition(".")
    if not dot or not ordinal.isdecimal():
        raise ValueError(f"not an attempt id: {attempt!r}; expected <job>.<ordinal>")
    return JobId(job)


def ordinal_of(attempt: AttemptId) -> int:
    """The ordinal of `attempt`, from 1. Raises ValueError where the id has none."""
    job_of(attempt)
    return int(attempt.rpartition(".")[2])


def transfer_id(manifest: ManifestId, target: SiteName, ordinal: int) -> TransferId:
    """The id of the `ordinal`-th transfer (from 1) of `manifest` to `target`."""
    return TransferId(f"{manifest[:16]}>{target}.{ordinal}")
