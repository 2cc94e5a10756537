"""The example of a workflow resolves, fits the example fleet, and its tasks give what its last one says."""

import os
import subprocess
from pathlib import Path

import pytest

from moyai.model.site import Flavor
from moyai.model.specs.fleet import FleetSpec
from moyai.model.specs.resolve import resolve_fleet
from moyai.model.specs.workflow import WorkflowSpec, resolve_workflow
from moyai.model.units import Instant
from moyai.model.workflow import in_order, parents_of

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = [EXAMPLES / "workflow.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_it_resolves_and_fits_the_fleet(file: Path) -> None:
    spec = WorkflowSpec.from_file(file)
    orders, texts = resolve_workflow(spec, Instant(1_790_000_000_000_000))
    assert spec.workdir is not None
    assert (file.parent / spec.workdir).is_dir()
    assert all(text.run for text in texts)
    assert [t.keep for t in orders if t.keep] == [("report",)]  # what nobody reads is a result, the rest goes
    sites, _ = resolve_fleet(FleetSpec.from_file(EXAMPLES / "fleets/three-sites.yaml"))
    flavors: list[Flavor] = [flavor for site in sites for flavor in site.flavors]
    for task in orders:
        assert any(f.cores >= task.order.need.cores for f in flavors)


def test_its_tasks_find_the_primes(tmp_path: Path) -> None:
    spec = WorkflowSpec.from_file(FILES[0])
    orders, texts = resolve_workflow(spec, Instant(0))
    places: dict[str, Path] = {}
    said = ""
    for number in in_order(parents_of(orders)):
        work = tmp_path / orders[number].order.name
        work.mkdir()
        for source in sorted((EXAMPLES / "workflow").iterdir()):
            (work / source.name).write_bytes(source.read_bytes())
        env = {"PATH": os.environ["PATH"]}
        for file in orders[number].reads:
            env["MOYAI_DATA_" + file.upper().replace("-", "_")] = str(places[file])
        done = subprocess.run(
            ["/bin/sh", "-c", texts[number].run], cwd=work, env=env, capture_output=True, text=True, check=True
        )
        said = done.stdout
        for file, path in texts[number].files:
            kept = tmp_path / f"file-{file}"  # as a site keeps it: one file is a directory that holds it
            kept.mkdir()
            (kept / Path(path).name).write_bytes((work / path).read_bytes())
            places[file] = kept
    assert said == "6057 primes\n"  # below 60,000
