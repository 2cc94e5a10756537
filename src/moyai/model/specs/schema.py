"""JSON Schema of what people write, with a description for every key, so that editors complete and explain it."""

from typing import Any, cast

from pydantic import BaseModel

from moyai.model.specs.fleet import FleetSpec, SiteFile
from moyai.model.specs.job import JobSpec
from moyai.model.specs.scenario import ScenarioSpec
from moyai.model.specs.workflow import WorkflowSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """The schema of a workload file."""
    return _schema(JobSpec, "Moyai workload")


def fleet_schema() -> dict[str, Any]:
    """The schema of a fleet file."""
    return _schema(FleetSpec, "Moyai fleet")


def site_schema() -> dict[str, Any]:
    """The schema of an agent's site file."""
    return _schema(SiteFile, "Moyai site")


def scenario_schema() -> dict[str, Any]:
    """The schema of a scenario file of the twin."""
    return _schema(ScenarioSpec, "Moyai scenario")


def workflow_schema() -> dict[str, Any]:
    """The schema of a workflow file."""
    return _schema(WorkflowSpec, "Moyai workflow")


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    body = cast(dict[str, Any], _tidy(model.model_json_schema(mode="validation"), names=False))
    return {"$schema": DIALECT, "title": title} | body


def _tidy(node: object, names: bool) -> object:
    """Without generated titles, without defaults that repeat the description, and without null, which no file may hold.

    `names` says that the keys of `node` are names of properties, not words of JSON Schema.
    """
    if isinstance(node, list):
        return [_tidy(item, False) for item in cast(list[object], node)]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _tidy(value, not names and key in {"properties", "$defs"})
        for key, value in cast(dict[str, object], node).items()
        if names or key not in {"title", "default"}
    }
    choices = kept.get("anyOf")
    if not names and isinstance(choices, list):
        real = [choice for choice in cast(list[object], choices) if choice != {"type": "null"}]
        if len(real) == 1 and isinstance(real[0], dict):
            return {**cast(dict[str, object], real[0]), **{k: v for k, v in kept.items() if k != "anyOf"}}
    return kept
