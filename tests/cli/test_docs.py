"""docs/cli.md holds every command with every option, in the words of `--help`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
_DUMP = """
import contextlib
import io
import json
from typer.core import TyperGroup
from moyai.cli.app import COMMANDS, command, load

def walk(path, found):
    yield path
    if isinstance(found, TyperGroup):
        for name, below in found.commands.items():
            yield from walk([*path, name], below)

paths = [[], *(p for name in COMMANDS for p in walk([name], load(name)))]
helps = {}
group = command()
for path in paths:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        group.main([*path, "--help"], prog_name="moyai", standalone_mode=False)
    helps[" ".join(["moyai", *path])] = said.getvalue().rstrip()
print(json.dumps(helps))
"""


def helps() -> dict[str, str]:
    env = {**os.environ, "MOYAI_LANG": "en", "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", _DUMP], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def section(name: str, text: str) -> str:
    return f"### {name}\n```\n{text}\n```\n"


def test_the_page_holds_every_command_in_its_own_words() -> None:
    found = helps()
    made = "\n".join(section(name, text) for name, text in found.items())
    head, marker, tail = re.split(r"(<!-- Made from .*? -->\n)", DOCS.read_text("utf-8"), maxsplit=1)
    if os.environ.get("MOYAI_WRITE_DOCS"):
        DOCS.write_text(head + marker + made, "utf-8")
        return
    assert tail == made, "run: MOYAI_WRITE_DOCS=1 pytest tests/cli/test_docs.py"


def test_every_command_speaks_json_and_takes_a_directory() -> None:
    found = helps()
    groups = {name for name in found if any(other.startswith(name + " ") for other in found)}
    for name, text in found.items():
        if name in {"moyai", "moyai up"} | (groups - {"moyai sites"}):
            continue
        assert "--json" in text, name
        apart = {
            "moyai schema",
            "moyai demo",
            "moyai store check",
            "moyai store migrate",
        }  # they have no control plane, or name two
        if name not in apart and not name.startswith("moyai twin "):
            assert "--dir" in text, name


def test_no_line_is_wider_than_80_columns() -> None:
    for name, text in helps().items():
        assert max(map(len, text.splitlines())) <= 80, name
