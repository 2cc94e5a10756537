"""One real Ray cluster of two nodes, where the program is there."""

from collections.abc import Iterator

import pytest

from engines.ray.clusters import RayCluster, find_ray


@pytest.fixture(scope="session")
def cluster() -> Iterator[RayCluster]:
    """Two nodes of two CPUs, one GPU and two NPUs each."""
    if not find_ray():
        pytest.skip("there is no program 'ray': set MOYAI_RAY to it, or run `make ray`")
    made = RayCluster(2, 2, 1, {"npu": 2})
    try:
        yield made.up()
    finally:
        made.close()
