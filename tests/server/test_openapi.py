"""The OpenAPI document, and requests made from it: whatever comes, no answer is a defect of the server."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from server.process import Server


@pytest.fixture(scope="module")
def signed(shared: Server) -> dict[str, str]:
    """The headers of a browser that came by a link."""
    with httpx.Client(trust_env=False) as browser:
        browser.get(shared.post("/v1/links/page")["url"])
        cookie = "; ".join(f"{k}={v}" for k, v in browser.cookies.items())
    return {"Cookie": cookie, "Origin": shared.url}


def test_no_request_is_answered_by_a_defect(shared: Server, signed: dict[str, str]):
    document = schemathesis.openapi.from_url(f"{shared.url}/v1/openapi.json", headers=signed)
    tried = 0
    for found in document.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            if isinstance(case.query, dict) and "wait" in case.query:
                case.query["wait"] = 0
            answer = case.call(headers=signed)
            assert answer.status_code < 500, (case.method, case.formatted_path, case.body, answer.text)
            case.validate_response(answer, checks=[response_schema_conformance, content_type_conformance])

        ask()
        tried += 1
    assert tried > 18


def test_the_document_knows_what_people_write(shared: Server):
    document = shared.get("/v1/openapi.json")
    schemas = document["components"]["schemas"]
    assert schemas["Submission"]["properties"]["spec"]["$ref"] == "#/components/schemas/JobSpec"
    assert {"JobView", "WhyView", "SiteStatus", "ErrorAnswer", "DatasetSpec", "ResourcesSpec"} <= set(schemas)
    assert "{'$ref': '#/$defs" not in str(document)
    for path, methods in document["paths"].items():
        assert path.startswith("/v1/")
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
