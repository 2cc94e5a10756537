"""The diagrams of docs/states.md are the lifecycle tables, move for move."""

import re
from pathlib import Path

from moyai.model.lifecycle import ATTEMPT_MOVES, JOB_MOVES, WORKFLOW_MOVES

DOC = Path(__file__).parents[2] / "docs" / "states.md"
WORKFLOWS = DOC.with_name("workflows.md")


def moves(table) -> set[tuple[str, str, str]]:
    return {(before or "[*]", to, event) for (before, event), targets in table.items() for to in targets}


def test_the_diagrams_are_the_tables() -> None:
    diagrams = re.findall(r"```mermaid\n(.*?)```", DOC.read_text("utf-8"), re.DOTALL)
    drawn = [set(re.findall(r"^ +(\S+) --> (\S+) : (\S+)$", d, re.MULTILINE)) for d in diagrams]
    assert drawn == [moves(ATTEMPT_MOVES), moves(JOB_MOVES)]


def test_the_diagram_of_workflows_is_its_table() -> None:
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", WORKFLOWS.read_text("utf-8"), re.DOTALL)
    drawn = set(re.findall(r"^ +(\S+) --> (\S+) : (\S+)$", diagram, re.MULTILINE))
    assert drawn == moves(WORKFLOW_MOVES)


def test_the_workflow_of_the_page_is_one() -> None:
    from moyai.model.specs.workflow import WorkflowSpec

    (text,) = re.findall(r"```yaml\n(.*?)```", WORKFLOWS.read_text("utf-8"), re.DOTALL)
    assert [t.name for t in WorkflowSpec.from_text(text).tasks] == ["split", "count", "report"]
