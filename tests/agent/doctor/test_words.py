"""Every check has its words in both languages, with the same figures, and says what to do where something is wrong."""

import ast
from pathlib import Path

import moyai
from moyai.locale import LANGUAGES, messages, placeholders

ROOT = Path(moyai.__file__).parent
SOURCES = [*sorted((ROOT / "agent" / "doctor").glob("*.py")), ROOT / "server" / "doctor.py", ROOT / "cli" / "doctor.py"]


def calls() -> list[tuple[str, set[str], set[str]]]:
    """Each call of ok, warn or bad: who is called, every key that it may name, and its figures."""
    found: list[tuple[str, set[str], set[str]]] = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or len(node.args) != 2:
                continue
            names = {n.id for n in ast.walk(node.func) if isinstance(n, ast.Name)} & {"ok", "warn", "bad"}
            keys = {n.value for n in ast.walk(node.args[1]) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            if isinstance(node.args[1], ast.Name):
                keys = {"wall-clock-ahead", "wall-clock-behind"}
            if names:
                found.append(("ok" if names == {"ok"} else "bad", keys, {k.arg for k in node.keywords if k.arg}))
    return found


def test_every_check_has_its_words() -> None:
    found = calls()
    assert len(found) > 60
    said: set[str] = set()
    for kind, keys, figures in found:
        for key in keys:
            wanted = [key] if kind == "ok" else [key, f"{key}-mend"]
            said.update(wanted)
            for lang in LANGUAGES:
                for one in wanted:
                    needs = {name for name, _ in placeholders(messages(lang)[f"doctor.{one}"])}
                    assert needs <= figures, (one, needs - figures)
    assert said == {key.removeprefix("doctor.") for key in messages("en") if key.startswith("doctor.")}
