"""The OpenAPI document: what the framework makes of the routes, with the schemas of the specs that people write."""

from typing import Any, cast

from fastapi import FastAPI

from moyai.model.views import ErrorAnswer

_NAME = {"type": "string", "pattern": "^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"}
_ERROR = {
    "description": "What was wrong, where, and what to do.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body is the same request, however often it is sent.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}


def _body(schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"requestBody": {"required": True, "content": content}}


SUBMIT: dict[str, Any] = {**_body("Submission"), "parameters": [_KEY]}
PLAN: dict[str, Any] = _body("Submission")
WORKFLOW: dict[str, Any] = {**_body("WorkflowSubmission"), "parameters": [_KEY]}
DATASET: dict[str, Any] = {**_body("DatasetSpec"), "parameters": [_KEY]}
BYTES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def raw(description: str, headers: dict[str, str]) -> dict[int | str, dict[str, Any]]:
    """The entry of an answer that is bytes."""
    return {
        200: {
            "description": description,
            "headers": {name: {"description": said, "schema": {"type": "string"}} for name, said in headers.items()},
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    }


def describe(app: FastAPI) -> None:
    """Let `app` say the whole of its OpenAPI document, made when it is first asked for."""
    made: list[dict[str, Any]] = []

    def openapi() -> dict[str, Any]:
        if not made:
            made.append(_whole(app))
        return made[0]

    app.openapi = openapi  # the framework's own way to replace it


def _whole(app: FastAPI) -> dict[str, Any]:
    from fastapi.openapi.utils import get_openapi
    from pydantic import TypeAdapter

    from moyai.model.specs.schema import job_schema, workflow_schema
    from moyai.server.people import DatasetSpec

    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    _add(schemas, "JobSpec", job_schema())
    _add(schemas, "WorkflowSpec", workflow_schema())
    _add(schemas, "DatasetSpec", DatasetSpec.model_json_schema())
    _add(schemas, "ErrorAnswer", TypeAdapter(ErrorAnswer).json_schema())
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)  # the framework's own form of errors, which is not ours
            operation["responses"] |= {"4XX": _ERROR, "5XX": _ERROR}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Submission"] = _submission("JobSpec")
    schemas["WorkflowSubmission"] = _submission("WorkflowSpec")
    return document


def _submission(spec: str) -> dict[str, Any]:
    """The body of a submission of a `spec`."""
    return {
        "type": "object",
        "required": ["spec"],
        "additionalProperties": False,
        "properties": {
            "spec": {"$ref": f"#/components/schemas/{spec}"},
            "tenant": _NAME,
            "project": _NAME,
            "workdir": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "The blob of its directory."},
            "workdir_bytes": {"type": "integer", "minimum": 0, "description": "Its size, unpacked."},
        },
    }


def _add(schemas: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    """Put a schema and its definitions beside the others."""
    parts: dict[str, Any] = schema.pop("$defs", {})
    schema.pop("$schema", None)
    for part, body in parts.items():
        schemas[part] = _moved(body)
    schemas[name] = _moved(schema)


def _moved(node: object) -> Any:
    if isinstance(node, dict):
        named = cast(dict[str, object], node)
        return {
            key: str(value).replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _moved(value)
            for key, value in named.items()
        }
    return [_moved(item) for item in cast(list[object], node)] if isinstance(node, list) else node
