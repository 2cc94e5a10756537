"""What the READMEs show is what there is: the example file, word for word, and commands that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "README.ja.md"]


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.name)
def test_the_example_is_the_file(readme: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    assert shown == (ROOT / "examples" / "train.yaml").read_text("utf-8")


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.name)
def test_its_commands_and_targets_exist(readme: Path) -> None:
    from moyai.cli.app import COMMANDS

    text = readme.read_text("utf-8")
    assert set(re.findall(r"\bmoyai ([a-z]+)\b", text)) <= set(COMMANDS)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ([a-z]+)\b", text):
        assert f"\n{target}:" in makefile or target in {"many"}
