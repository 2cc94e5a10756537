"""The Python client: `moyai.Client().run(moyai.Job("python train.py"))`."""

from moyai.client.archive import Archive
from moyai.client.client import Client
from moyai.client.errors import BadSpec, MoyaiError
from moyai.client.handle import JobHandle, Piece, Turn, Waiting
from moyai.client.job import Job

__all__ = ["Archive", "BadSpec", "Client", "Job", "JobHandle", "MoyaiError", "Piece", "Turn", "Waiting"]
