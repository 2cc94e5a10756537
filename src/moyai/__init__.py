"""Moyai: many data centres as one computer. `moyai.Client` and `moyai.Job` are the way in for programs."""

TYPE_CHECKING = False  # `typing` itself costs a tenth of the start of a guard
if TYPE_CHECKING:
    from moyai.client import BadSpec, Client, Job, JobHandle, MoyaiError

__all__ = ["BadSpec", "Client", "Job", "JobHandle", "MoyaiError"]


def __getattr__(name: str) -> object:
    """Loads the client at its first use: the agent, the guard and `moyai --help` import `moyai` without it."""
    if name in __all__:
        import moyai.client

        return getattr(moyai.client, name)
    raise AttributeError(f"module 'moyai' has no attribute {name!r}")
