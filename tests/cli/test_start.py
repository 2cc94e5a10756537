"""What a start loads, and what it does not."""

import json
import os
import subprocess
import sys

import pytest

import moyai as api
from cli.conftest import Moyai

HEAVY = {"httpx", "rich", "pydantic", "msgspec", "numpy", "sqlalchemy", "fastapi", "highspy", "yaml", "asyncio"}


def loaded(code: str) -> set[str]:
    """The heavy libraries that `code` loads."""
    tail = f"\nimport json, sys\nprint(json.dumps(sorted(set(sys.modules) & {HEAVY!r})))"
    env = {**os.environ, "MOYAI_LANG": "en"}
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True, env=env)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_loads_no_library_but_typer() -> None:
    code = """
import sys
from moyai.cli import main
sys.argv = ["moyai", "--help"]
try:
    main.main()
except SystemExit:
    pass
"""
    assert loaded(code) == set()


def test_the_package_alone_loads_nothing() -> None:
    assert loaded("import moyai") == set()


def test_the_client_loads_neither_solver_nor_server() -> None:
    assert loaded("import moyai; moyai.Client; moyai.Job('true')") <= {"httpx", "msgspec", "pydantic", "yaml"}


def test_what_the_package_offers() -> None:
    for name in api.__all__:
        assert getattr(api, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        api.Clint  # noqa: B018


def test_version_and_schema(moyai: Moyai) -> None:
    from importlib.metadata import version

    assert moyai("--version").out.strip() == version("moyai")
    assert "run" in json.loads(moyai("schema").out)["properties"]
    assert "sites" in json.loads(moyai("schema", "fleet").out)["properties"]


def test_in_japanese(moyai: Moyai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "ja")
    ran = moyai("run")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "エラー: 実行するものがない")


@pytest.mark.parametrize(("typed", "offered"), [("ca", "cancel"), ("sites dr", "drain"), ("run --det", "--detach")])
def test_the_shell_completes(typed: str, offered: str) -> None:
    words = f"moyai {typed}"
    env = {
        **os.environ,
        "_MOYAI_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    code = "from moyai.cli import main; main.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert offered in done.stdout.split()
