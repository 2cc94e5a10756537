"""The JSON Schema for editors: every key explained, and in accord with what is really taken."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from pydantic import BaseModel

from moyai.model.specs import engine, scenario, scenario_jobs
from moyai.model.specs.fleet import FlavorSpec, FleetSpec, LinkSpec, SiteFile, SiteSpec
from moyai.model.specs.job import CheckpointSpec, DataSpec, JobSpec, ResourcesSpec
from moyai.model.specs.schema import fleet_schema, job_schema, scenario_schema, site_schema, workflow_schema
from moyai.model.specs.workflow import TaskSpec, WorkflowSpec
from moyai.twin.scenarios.scenario import built_in

EXAMPLES = Path(__file__).parents[3] / "examples"
MODELS = [JobSpec, ResourcesSpec, DataSpec, CheckpointSpec, FleetSpec, SiteSpec, FlavorSpec, LinkSpec]
MODELS += [TaskSpec, WorkflowSpec, SiteFile]
BESIDE: dict[str, dict[str, object]] = {
    "slurm": {"engine": "slurm"},
    "ray": {"engine": "ray"},
    "ssh": {"engine": "ssh"},
    "rest": {"jwt_key": "/etc/slurm/jwt_hs256.key"},
}
"""What an example needs beside it."""
MODELS += [
    model
    for module in (scenario, scenario_jobs, engine)
    for model in vars(module).values()
    if isinstance(model, type)
    and issubclass(model, BaseModel)
    and model.__module__ == module.__name__
    and model is not scenario.SignalSpec  # its values stand under one of three keys
]


@pytest.mark.parametrize("model", MODELS)
def test_every_key_is_explained_with_an_example_that_works(model: type[BaseModel]) -> None:
    least = {key: info.examples[0] for key, info in model.model_fields.items() if info.is_required() and info.examples}
    for key, info in model.model_fields.items():
        assert info.description, key
        assert info.description.endswith("."), key
        assert info.examples, key
        for example in info.examples:
            model.model_validate(least | {key: example} | BESIDE.get(key, {}))


def properties(node: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema, however deep."""
    if isinstance(node, dict):
        yield from node.get("properties", {}).items()
        for value in node.values():
            yield from properties(value)
    elif isinstance(node, list):
        for item in node:
            yield from properties(item)


SCHEMAS = {
    "job": job_schema(),
    "fleet": fleet_schema(),
    "site": site_schema(),
    "scenario": scenario_schema(),
    "workflow": workflow_schema(),
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_the_schema_describes_every_property_and_offers_no_null(schema: dict[str, Any]) -> None:
    jsonschema_rs.meta.validate(schema)
    found = list(properties(schema))
    assert len(found) > 10
    for key, body in found:
        assert body.get("description"), key
    assert "'null'" not in str(schema)


def _built_in(name: str) -> str:
    return (resources.files("moyai.twin.scenarios") / f"{name}.yaml").read_text("utf-8")


def test_the_schema_takes_the_examples() -> None:
    for name in built_in():
        jsonschema_rs.validator_for(scenario_schema()).validate(yaml.safe_load(_built_in(name)))
    job, fleet = jsonschema_rs.validator_for(job_schema()), jsonschema_rs.validator_for(fleet_schema())
    workflows = [EXAMPLES / "workflow.yaml"]
    for file in workflows:
        jsonschema_rs.validator_for(workflow_schema()).validate(yaml.safe_load(file.read_text("utf-8")))
    files = sorted(set(EXAMPLES.glob("*.yaml")) - set(workflows))
    assert files
    for file in files:
        job.validate(yaml.safe_load(file.read_text("utf-8")))
    for file in EXAMPLES.glob("fleets/*.yaml"):
        fleet.validate(yaml.safe_load(file.read_text("utf-8")))


@pytest.mark.parametrize(
    "data",
    [
        {"name": "a"},
        {"name": "A", "run": "b"},
        {"name": "a", "run": "b", "resorces": {}},
        {"name": "a", "run": "b", "nodes": 0},
        {"name": "a", "run": "b", "deadline": None},
        {"name": "a", "run": "b", "resources": {"memory": "80"}},
        {"name": "a", "run": "b", "residency": ["Japan"]},
    ],
)
def test_the_schema_refuses_what_is_refused(data: object) -> None:
    assert not jsonschema_rs.is_valid(job_schema(), data)
    with pytest.raises(Exception, match=r"."):
        JobSpec.from_data(data)
