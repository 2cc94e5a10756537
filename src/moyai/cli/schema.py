"""`moyai schema`: the JSON Schema of what people write, so that editors complete it."""

from enum import StrEnum
from typing import Annotated

import typer

from moyai.cli.common import AsJson, command_app
from moyai.cli.errors import guarded
from moyai.locale import t

app = command_app()


class Kind(StrEnum):
    """What people write."""

    JOB = "job"
    FLEET = "fleet"
    SITE = "site"
    SCENARIO = "scenario"
    WORKFLOW = "workflow"


@app.command(help=t("cli.schema.help"), epilog=t("cli.schema.epilog"))
@guarded
def schema(kind: Annotated[Kind, typer.Argument(help=t("cli.schema.kind"))] = Kind.JOB, as_json: AsJson = True) -> None:
    """Print a schema. It is JSON with and without `--json`."""
    from moyai.cli.output import print_json
    from moyai.model.specs.schema import fleet_schema, job_schema, scenario_schema, site_schema, workflow_schema

    schemas = {
        Kind.JOB: job_schema,
        Kind.FLEET: fleet_schema,
        Kind.SITE: site_schema,
        Kind.SCENARIO: scenario_schema,
        Kind.WORKFLOW: workflow_schema,
    }
    print_json(schemas[kind]())
