"""Azure: requests to a language model.

Source of the format: Azure/AzurePublicDataset (AzureLLMInferenceTrace_*.csv): TIMESTAMP, ContextTokens,
GeneratedTokens.
"""

from collections.abc import Iterable

from moyai.twin.traces.clock import wall_us
from moyai.twin.traces.naming import stem
from moyai.twin.traces.rows import BadRows, Wrong, table, whole
from moyai.twin.traces.trace import BadRow, Limits, Trace, TraceRequest

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
SOURCE = "Azure LLM inference trace: Azure/AzurePublicDataset; Patel et al., ISCA'24 (2023), Stojkovic et al. (2024)"
LICENCE = "CC-BY-4.0"


def load(lines: Iterable[str], file: str, limits: Limits) -> tuple[Trace, tuple[BadRow, ...]]:
    """The requests of an Azure trace, by time; times in microseconds from the earliest, cut to whole ones.

    Rows needn't be in order. Raises TraceError where there is no such header.
    """
    bad = BadRows(file, limits)
    taken: list[tuple[int, int, int, int]] = []
    for line, (timestamp, context, generated) in table(lines, bad, limits, COLUMNS):
        try:
            at_us = wall_us("TIMESTAMP", timestamp.removesuffix("+00:00"))
            taken.append((at_us, line, whole("ContextTokens", context), whole("GeneratedTokens", generated)))
        except Wrong as wrong:
            bad.add(line, str(wrong))
    taken.sort()
    start = taken[0][0] if taken else 0
    requests = tuple(TraceRequest(at - start, context, generated) for at, _, context, generated in taken)
    return Trace(stem(file), SOURCE, LICENCE, requests=requests), bad.taken()
