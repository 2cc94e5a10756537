"""The policies that always run beside ours, each a planner under the same rules, with the same information."""

from moyai.twin.policies.make import NAMES, Knowledge, UnknownPolicy, make

__all__ = ["NAMES", "Knowledge", "UnknownPolicy", "make"]
