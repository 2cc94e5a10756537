"""Alibaba 2026: the nodes of a pool of spot GPUs.

Source of the format: alibaba/clusterdata, cluster-trace-v2026 (spot_node_info_df.csv): gpu_model; gpu_capacity_num:
GPUs of the node; cpu_num: its cores; node_name. Memory isn't in the list.
"""

from collections.abc import Iterable

from moyai.model.specs.problems import quoted
from moyai.twin.traces.naming import stem
from moyai.twin.traces.rows import BadRows, Wrong, first_time, table, whole, word
from moyai.twin.traces.trace import BadRow, Limits, Trace, TraceNode

COLUMNS = ("gpu_model", "gpu_capacity_num", "cpu_num", "node_name")
SOURCE = "Alibaba cluster trace v2026, spot nodes: alibaba/clusterdata"
LICENCE = "research use"
MOST_CORES = 100_000


def load(lines: Iterable[str], file: str, limits: Limits) -> tuple[Trace, tuple[BadRow, ...]]:
    """The nodes of a spot node list, in its order. Raises TraceError where there is no such header."""
    bad = BadRows(file, limits)
    seen: dict[str, int] = {}
    nodes: list[TraceNode] = []
    for line, (model_text, gpus_text, cores, name_text) in table(lines, bad, limits, COLUMNS):
        try:
            name = word("node_name", name_text)
            gpus = whole("gpu_capacity_num", gpus_text, most=1_000)
            model = model_text.strip()
            if gpus and not model:
                raise Wrong(f"gpu_model: nothing is there, for {gpus} GPUs")
            if model and not gpus:
                raise Wrong(f"gpu_capacity_num: {quoted(model)} is the model of 0 GPUs")
            node = TraceNode(name, whole("cpu_num", cores, least=1, most=MOST_CORES) * 1000, 0, model, gpus)
            first_time(seen, "node_name", name, line)
        except Wrong as wrong:
            bad.add(line, str(wrong))
            continue
        nodes.append(node)
    notes = ("the memory of a node isn't in the list",)
    return Trace(stem(file), SOURCE, LICENCE, notes=notes, nodes=tuple(nodes)), bad.taken()
