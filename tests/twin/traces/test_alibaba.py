"""The node list of Alibaba 2026."""

from pathlib import Path

import pytest

from moyai.twin.traces import alibaba
from moyai.twin.traces.read import read
from moyai.twin.traces.trace import Limits, TraceError, TraceNode

HEADER = "gpu_model,gpu_capacity_num,cpu_num,node_name"
LIST = Path(__file__).parents[3].parent / "shared/data/traces/alibaba-2026/spot_node_info_df.csv.gz"


def load(*rows, header=HEADER):
    return alibaba.load(iter([row + "\n" for row in (header, *rows)]), "spot.csv", Limits())


def test_nodes_with_and_without_gpus():
    trace, bad = load("A10,1,128,0", "H800,8,192,1", ",0,64,2")
    assert not bad
    assert trace.nodes == (
        TraceNode("0", 128_000, 0, "A10", 1),
        TraceNode("1", 192_000, 0, "H800", 8),
        TraceNode("2", 64_000, 0),
    )
    assert "memory" in trace.notes[0]


def test_bad_rows_are_told_by_their_line_and_the_rest_is_taken():
    trace, bad = load(
        "A10,-1,128,0", ",8,128,1", "A10,0,128,2", "A10,1,0,3", "A10,1,128 cores,4", "A10,1,128,5", "A10,1,128,5"
    )
    assert [node.name for node in trace.nodes] == ["5"]
    assert [row.line for row in bad] == [2, 3, 4, 5, 6, 8]
    assert "gpu_capacity_num" in bad[0].problem
    assert "unit" in bad[4].problem
    assert "line 7" in bad[5].problem


def test_a_header_that_lacks_a_column():
    with pytest.raises(TraceError, match=r"spot\.csv:1: the header has no cpu_num"):
        load("A10,1,0", header="gpu_model,gpu_capacity_num,node_name")


@pytest.mark.skipif(not LIST.is_file(), reason="needs ../shared/data")
def test_the_list_itself():
    trace, bad = read(LIST, strict=True)
    assert not bad
    assert (len(trace.nodes), sum(node.accelerators for node in trace.nodes)) == (4_278, 10_412)
    assert len({node.accelerator for node in trace.nodes}) == 6
